"""The jobs that every runner works alike: digits from catalog to version, and word vectors to a version."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tests.pipelines.small_catalogs import command, published_bytes, quiet, ruiji
from tests.runners.install import GLOVE

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("--set", "beam.shared_filesystem=true")
WORDS, SHARD_ITEMS = 50_000, 2_500
# Training is no Beam job: a few steps do.
_DIGITS = (
    "--config",
    str(ROOT / "configs" / "digits.yaml"),
    "--set",
    "train.epochs=1",
    "--set",
    "train.steps_per_epoch=5",
)


def run_digits(folder: Path, flags: tuple[str, ...]) -> dict[str, bytes]:
    """`ruiji run` on all digits; the bytes of examples, embeddings and versions by name."""
    ruiji(*digits_arguments(folder, flags))
    return bytes_of_digits(folder)


def bytes_of_digits(folder: Path) -> dict[str, bytes]:
    """The same of a working directory in which it has run."""
    found = {f"store/{name}": data for name, data in published_bytes(folder / "store").items()}
    for part in ("examples", "embeddings"):
        files = [path for path in sorted((folder / part).rglob("*")) if path.is_file()]
        found |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return found


def digits_arguments(folder: Path, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Of `ruiji`, with `folder` as the working directory."""
    return ("run", *_DIGITS, "--workdir", str(folder), *SHARED, *flags)


def index_digits_arguments(prepared: Path, folder: Path, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Of `ruiji`: embeds and indexes what another working directory has prepared and trained."""
    made = ("--examples", str(prepared / "examples"), "--model", str(prepared / "model"))
    return ("index", *_DIGITS, *made, "--workdir", str(folder), *SHARED, *flags)


def index_words(vectors: Path, folder: Path, flags: tuple[str, ...]) -> dict[str, bytes]:
    """`ruiji index --embeddings` on word vectors; the published bytes by name."""
    ruiji(*words_arguments(vectors, folder, flags))
    return published_bytes(folder / "store")


def words_arguments(vectors: Path, folder: Path, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Of `ruiji`, with `folder` as the working directory."""
    settings = ("--set", f"index.shard_items={SHARD_ITEMS}")
    return ("index", "--embeddings", str(vectors), "--workdir", str(folder), *settings, *SHARED, *flags)


def check_up(folder: Path, flags: tuple[str, ...]) -> dict[str, Any]:
    """What `ruiji doctor` says of the runner."""
    config = ("--config", str(ROOT / "configs" / "digits.yaml"), "--workdir", str(folder))
    done = ruiji("doctor", *config, *SHARED, *flags, "--json")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def write_words(path: Path, count: int = WORDS) -> Path:
    """The first word vectors as a .npy file."""
    np.save(path, np.load(GLOVE)[:count].astype(np.float32))
    return path


def start(arguments: tuple[str, ...], log: Path) -> subprocess.Popen[str]:
    """`ruiji` in a process of its own, which speaks into a file."""
    with log.open("ab") as file:
        return subprocess.Popen(command(*arguments), stdout=file, stderr=file, env=quiet(), text=True)


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names that only one has, or whose bytes differ."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
