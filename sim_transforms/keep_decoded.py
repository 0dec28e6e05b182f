"""`<workdir>/decoded/`: what runs leave for later ones, and when it still holds.

| path | holds |
|---|---|
| `<key>/examples-*.tfrecord` | decoded media; `examples/` has the same files by hard links |
| `<key>/examples-*.parquet` | the files behind their records (`kept_media`) |
| `<key>/pending/` | the same two of a run whose examples are not accepted yet, or were refused |
| `<key>/analysis-<key>/generation-*/` | what TensorFlow Transform has found in the records of one generation |

A key stands for everything else that the content depends on: settings, decoders, code. The folder may be removed at any
time; the next run then decodes and analyses everything.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft

from sim_transforms.analyze_examples import Analysis
from sim_transforms.kept_media import Keep
from sim_transforms.media.decode import decoder_version
from sim_transforms.records.kept import FOLDER, PENDING, records_beside, table_beside
from sim_transforms.records.media import MediaShape
from sim_transforms.runs.digests import code_digest, settings_digest
from sim_transforms.runs.generations import Generation, known_generations, next_generation
from sim_transforms.settings.stages import PreprocessSettings
from sim_transforms.storage.files import sync

_KEY = 16
# What decoded bytes, and what is found in them, depend on.
_DECODING = (
    "sim_transforms.media",
    "sim_transforms.records.media",
    "sim_transforms.records.clips",
    "sim_transforms.features.example_format",
    "sim_transforms.kept_media",
    "sim_transforms.storage.tfrecord",
)
_ANALYSIS = ("sim_transforms.features", "sim_transforms.analyze_examples")


@dataclass(frozen=True)
class DecodedFolder:
    """What is kept for one way to decode and one way to analyse."""

    workdir: Path
    media: MediaShape
    settings: PreprocessSettings
    path: Path
    cache: Path

    @staticmethod
    def of(workdir: Path, media: MediaShape, settings: PreprocessSettings) -> "DecodedFolder":
        """The folder of a working directory, which is made where it is missing."""
        decoding = [media, decoder_version(media.kind), code_digest(_DECODING)]
        chosen = [media, settings.analyze_share, settings.min_examples_per_class]
        analysis = [*chosen, tft.__version__, tf.__version__, code_digest(_ANALYSIS)]
        path = workdir.absolute() / FOLDER / settings_digest(decoding)[:_KEY]
        cache = path / f"analysis-{settings_digest(analysis)[:_KEY]}"
        cache.mkdir(parents=True, exist_ok=True)
        return DecodedFolder(workdir.absolute(), media, settings, path, cache)

    def known(self) -> frozenset[Generation]:
        """Generations that are analysed."""
        return known_generations(self.cache)

    def keep(self, retry_rejects: bool) -> Keep:
        """What the shards of a new run take up and keep."""
        generation, merged = next_generation(self.known())
        made = Keep(str(self.path), generation, merged, retry_rejects)
        made.pending.mkdir(exist_ok=True)
        return made

    def table(self, name: str) -> Path:
        """Of the files behind a TFRecord file that this run has written."""
        return table_beside(self.path / PENDING / name)

    def analysis(self, generations: tuple[Generation, ...], known: frozenset[Generation]) -> Analysis:
        """What there is to analyse."""
        chosen = self.settings
        return Analysis(
            self.media, chosen.min_examples_per_class, chosen.analyze_share, generations, known, str(self.cache)
        )

    def take_up(self, fresh: Path) -> None:
        """Moves new results of the analysis, a folder each, to the others."""
        for path in sorted(fresh.iterdir()):
            if path.is_dir() and not (self.cache / path.name).exists():
                for file in sorted(path.rglob("*")):
                    sync(file)  # its name says that it is whole
                path.rename(self.cache / path.name)

    def accept(self, examples: Path, generations: Collection[Generation]) -> None:
        """Lets what this run has written take the place of what was kept, and removes what is no more.

        Args:
            examples: of the run.
            generations: of their records.
        """
        for records in sorted(path for path in (self.path / PENDING).iterdir() if path == records_beside(path)):
            if (examples / records.name).is_file() and table_beside(records).is_file():
                kept = self.path / records.name
                table_beside(kept).unlink(missing_ok=True)
                records.replace(kept)
                table_beside(records).replace(table_beside(kept))
        for folder in sorted(path for path in self.path.parent.iterdir() if path.is_dir()):
            if folder != self.path:
                shutil.rmtree(folder)
        for path in sorted(self.path.iterdir()):
            if path.is_dir():
                if path != self.cache:
                    shutil.rmtree(path)
            elif not (examples / records_beside(path).name).is_file():
                path.unlink()
        names = {generation.name for generation in generations}
        for path in sorted(self.cache.iterdir()):
            if path.name not in names:
                shutil.rmtree(path)
