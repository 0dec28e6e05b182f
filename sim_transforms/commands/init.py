"""`ruiji init`: a commented configuration out of a look at the user's catalog.

Every file is counted, and some are decoded, to say what their kind, size and rate suggest. What is proposed is a start:
each key that was chosen says why.
"""

import csv
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from sim_transforms.errors import MediaError, UsageError
from sim_transforms.media.catalog import plan_catalog, read_part
from sim_transforms.media.catalog_plan import CatalogPlan
from sim_transforms.media.decode import media_shape
from sim_transforms.media.guard import GuardedDecoder, bounds_of
from sim_transforms.media.parts import MAX_FILE_BYTES, FileFacts, Parts
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles, is_remote, local_copy
from sim_transforms.records.items import MediaRef
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import ImageSettings, MediaSettings, PreprocessSettings, SoundSettings
from sim_transforms.settings.training import TrainSettings
from sim_transforms.storage.files import write_file

# Files that are decoded, evenly spread over the catalog.
_PICTURES, _SOUNDS = 60, 12
# Uris that are kept to choose from: every second one goes when there are so many.
_HELD = 4096
# Beside media in a folder, and no media.
_OTHER_FILES = (
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".parquet",
    ".txt",
    ".md",
    ".db",
    ".ini",
    ".yaml",
    ".yml",
    ".xml",
    ".html",
)
# A network that begins from random weights learns little from more pixels, and takes their area in time.
_SIDES = (16, 32, 48, 64)
_RATES = (8_000, 16_000, 22_050)
# Of a class, for one to be trained on; and classes, for labels to be of use.
_LEAST, _FEW_CLASSES = 2, 2
# Quotient of the widest and the narrowest shape.
_SAME_SHAPE = 1.2
# Items from which an index is better held in parts, and up to which a page to browse it is small.
_MANY, _PAGE = 10_000_000, 20_000
_LOOK: dict[str, MediaSettings] = {
    "image": ImageSettings(height=32, width=32, channels=3),
    "audio": SoundSettings(sample_rate=8_000, min_seconds=0.01, max_seconds=86_400.0, silence_db=None),
}


@dataclass(frozen=True)
class Looked:
    """What was seen.

    Attributes:
        plan: of the catalog.
        items: rows that name a file.
        labels: label -> items of it; items without one are not in it.
        rejected: rows that name none.
        kind: image or audio.
        read: files that were decoded.
        facts: of those that could be.
        grey: whether all pictures are.
    """

    plan: CatalogPlan
    items: int
    labels: Counter[str]
    rejected: int
    kind: str
    read: int
    facts: tuple[FileFacts, ...]
    grey: bool

    @property
    def several(self) -> int:
        """Classes of at least two items."""
        return sum(count >= _LEAST for count in self.labels.values())


def init(source: str, output: str | None, name: str | None, force: bool, files: RemoteFiles = LOCAL_ONLY) -> Path:
    """Writes the configuration; of a folder whose files lie in no sub-folders a table beside it that names them.

    Args:
        source: catalog, as `catalog.source` takes it.
        output: the file; `configs/NAME.yaml` where null.
        name: of the catalog; that of the source where null.
        force: write over a file that is there.
        files: where a catalog with a scheme lies.

    Returns:
        The path of the file.

    Raises:
        CatalogError: there is no catalog.
        UsageError: the file is there, or none of what was looked at is a picture or a sound.
    """
    called = _name(name or Path(source.rstrip("/")).name)
    target = Path(output) if output else Path("configs") / f"{called}.yaml"
    if target.exists() and not force:
        raise UsageError(f"{target}: a file is there; --force writes over it, --output FILE names another")
    flat, table = _flat_files(source), target.with_suffix(".csv")
    if flat and table == target:
        raise UsageError(f"--output {target}: a .yaml file is expected; the table of the files gets the name with .csv")
    if flat and table.exists() and not force:
        raise UsageError(f"{table}: a file is there; --force writes over it, --output FILE names another")
    rows = _as_table(flat)
    with tempfile.TemporaryDirectory(prefix="ruiji-init-") as folder:
        looked_at, configured = Path(folder) / "catalog.csv", Path(folder) / "catalog.yaml"
        if flat:
            looked_at.write_text(rows, encoding="utf-8")
        looked = look(str(looked_at) if flat else source, bool(flat), files)
        text = configuration(called, str(table) if flat else source, looked, str(Path(source)) if flat else None)
        # What is written is read first, as every command will.
        configured.write_text(text, encoding="utf-8")
        load_settings(str(configured))
    target.parent.mkdir(parents=True, exist_ok=True)
    if flat:
        write_file(table, rows.encode())
    write_file(target, text.encode())
    return target


def look(source: str, allow_outside: bool, files: RemoteFiles = LOCAL_ONLY) -> Looked:
    """Counts what a catalog holds and decodes some of it.

    Raises:
        CatalogError: there is no catalog.
        UsageError: none of the files is a picture or a sound.
    """
    plan = plan_catalog(source, allow_outside, files)
    labels: Counter[str] = Counter()
    uris, items, rejected, step = [], 0, 0, 1
    for part in plan.parts:
        for entry in read_part(plan, part, 0, files):
            if not isinstance(entry, MediaRef):
                rejected += 1
                continue
            labels.update([entry.label] if entry.label else [])
            if items % step == 0:
                uris.append(entry.uri)
            items += 1
            if len(uris) == _HELD:
                uris, step = uris[::2], 2 * step
    if not uris:
        raise UsageError(f"catalog {source}: none of its {plan.rows:,} rows names a file that can be read")
    kind, read, facts, grey = _decoded(uris, files)
    return Looked(plan, items, labels, rejected, kind, read, facts, grey)


def _decoded(uris: Sequence[str], files: RemoteFiles) -> tuple[str, int, tuple[FileFacts, ...], bool]:
    """Kind, files read, facts, and whether pictures are grey; the kind is the one that more files are of."""
    found: dict[str, tuple[int, list[FileFacts], bool]] = {}
    for kind, settings in _LOOK.items():
        chosen = _spread(uris, _PICTURES if kind == "image" else _SOUNDS)
        facts, grey = [], True
        for decoded in _contents(chosen, settings, files):
            facts.append(decoded.facts)
            if kind == "image":
                pixels = np.frombuffer(decoded.parts[0].media, np.uint8).reshape(-1, 3)
                grey = grey and bool((pixels == pixels[:, :1]).all())
        found[kind] = len(chosen), facts, grey
    kind = max(found, key=lambda name: len(found[name][1]) / found[name][0])
    read, facts, grey = found[kind]
    if not facts:
        raise UsageError(f"of {read} files that were tried none is a picture or a sound, for example {uris[0]}")
    return kind, read, tuple(facts), grey


def _contents(uris: Sequence[str], settings: MediaSettings, files: RemoteFiles) -> Iterator[Parts]:
    """What can be decoded."""
    with GuardedDecoder(media_shape(settings), bounds_of(PreprocessSettings())) as decoder:
        for uri in uris:
            try:
                with local_copy(uri, files, MAX_FILE_BYTES) if is_remote(uri) else nullcontext(uri) as path:
                    (decoded,) = decoder.decode([str(path)])
            except MediaError:
                continue
            if not isinstance(decoded, MediaError):
                yield decoded.content


def _spread(uris: Sequence[str], most: int) -> list[str]:
    """Some that lie evenly among all, the first included."""
    count = min(most, len(uris))
    return [uris[number * len(uris) // count] for number in range(count)]


def configuration(name: str, source: str, looked: Looked, flat: str | None = None) -> str:
    """The text of the file.

    Args:
        name: of the catalog.
        source: of the catalog.
        looked: what was seen.
        flat: folder whose files the catalog lists, where it was made from one.
    """
    lines = [
        _summary(looked),
        "# Written by `ruiji init`; all keys with their defaults: docs/design.md.",
        f"name: {_quoted(name)}",
        f"workdir: {_quoted(f'work/{name}')}",
        f"# store: gs://BUCKET/{name}    (default: work/{name}/store)",
        "catalog:",
        f"  source: {_quoted(source)}",
    ]
    if flat:
        lines += [
            _line("allow_outside", "true", f"its uris are the files of {flat}"),
            "  # New files are not in that table: write it anew (`ruiji init --force`), or put files into sub-folders.",
        ]
    lines += _image(looked) if looked.kind == "image" else _sound(looked)
    return "\n".join([*lines, *_train(looked), *_index(looked)]) + "\n"


def next_steps(path: Path) -> str:
    """What to do with it, for people."""
    return (
        f"written    {path}\n"
        f"then       ruiji preprocess --config {path}\n"
        f"           ruiji report --media --config {path} --output page    # what is in the catalog\n"
        f"           ruiji run --config {path}                             # train, index, publish\n"
        f"           ruiji serve --config {path}"
    )


def _summary(looked: Looked) -> str:
    told = f"{looked.items:,} {'pictures' if looked.kind == 'image' else 'sounds'}"
    if looked.labels:
        several, smallest = looked.several, min(looked.labels.values())
        told += f", labels: {len(looked.labels):,} ({several:,} of two items or more, the smallest has {smallest:,})"
    else:
        told += " without labels"
    if looked.rejected:
        told += f"; {looked.rejected:,} further rows name no file that can be read (`ruiji preprocess` says why)"
    refused = looked.read - len(looked.facts)
    if refused:
        told += f"; {refused} of {looked.read} that were tried could not be decoded"
    return f"# {told}."


def _image(looked: Looked) -> list[str]:
    sides = sorted(min(facts.width, facts.height) for facts in looked.facts)
    shapes = [facts.width / facts.height for facts in looked.facts]
    wanted = max((side for side in _SIDES if side <= median(sides)), default=_SIDES[0])
    colours = "all that were looked at are grey" if looked.grey else "there are coloured ones"
    lines = [
        "media:",
        "  kind: image",
        _line("height", wanted, f"shorter sides have {_range(sides, 0)} pixels; time grows with the area"),
        f"  width: {wanted}",
        _line("channels", 1 if looked.grey else 3, colours),
    ]
    if max(shapes) / min(shapes) > _SAME_SHAPE:
        lines.append(
            _line("resize", "fit", "shapes differ: the whole picture, background beside it (or stretch, fill)")
        )
    return lines


def _sound(looked: Looked) -> list[str]:
    seconds = sorted(facts.seconds for facts in looked.facts)
    slowest = min(facts.sample_rate for facts in looked.facts)
    rate = max((rate for rate in _RATES if rate <= slowest), default=_RATES[0])
    clip = max(0.5, min(5.0, round(median(seconds), 1)))
    longer = seconds[-1] > clip
    overlap = "an excerpt overlaps its nearest clip by three quarters" if longer else "no sound is longer than a clip"
    lines = [
        "media:",
        "  kind: audio",
        _line("sample_rate", rate, f"the files have {slowest:,} Hz or more"),
        _line("seconds", clip, f"of a clip; the sounds last {_range(seconds, 1)} s"),
        _line("hop_seconds", clip / 2 if longer else clip, overlap),
    ]
    if seconds[0] < SoundSettings.min_seconds:
        lines.append(_line("min_seconds", max(0.01, round(seconds[0] / 2, 2)), "shorter ones are rejected"))
    if seconds[-1] > SoundSettings.max_seconds:
        lines.append(_line("max_seconds", round(2 * seconds[-1]), "longer ones are rejected"))
    return lines


def _train(looked: Looked) -> list[str]:
    if looked.several < _FEW_CLASSES:
        why = "fewer than two labels have two items: views of an item teach (SimCLR)"
        return ["train:", _line("loss", "none", why)]
    lines = ["train:", _line("train_labels", "all", "or a list: items of others are found too, by being indexed")]
    if looked.several < TrainSettings.classes_per_batch:
        lines.append(_line("classes_per_batch", looked.several, "as many as there are"))
    return [*lines, _line("calibrate_precision", 0.9, "finds the distance from which a search says `no match`")]


def _index(looked: Looked) -> list[str]:
    lines = ["index:", _line("recall_target", 0.95, "of the ten nearest; a version below it is never published")]
    if looked.items <= _PAGE:
        why = "up to so many items (or clips) a version holds a page to browse it, which shows them all; 0: none"
        lines.append(_line("page_items", _PAGE, why))
    if looked.items > _MANY:
        lines.append(_line("layout", "routed", "a file a shard: searched without the whole index in memory"))
    return lines


def _line(key: str, value: object, comment: str) -> str:
    return f"{f'  {key}: {value}':<36}# {comment}"


def _range(values: Sequence[float], digits: int) -> str:
    """Of ascending values."""
    low, high = (f"{value:,.{digits}f}" for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def _flat_files(source: str) -> list[Path]:
    """Files of a local folder that has them, and none in sub-folders; archives are a catalog of their own."""
    folder = Path(source)
    if is_remote(source) or source.startswith("builtin:") or not folder.is_dir():
        return []
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if any(path.is_dir() for path in shown) or any(path.suffix.lower() in (".tar", ".zip") for path in shown):
        return []
    return [path.absolute() for path in shown if not path.name.lower().endswith(_OTHER_FILES)]


def _as_table(paths: Sequence[Path]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item_id", "uri"])
    writer.writerows([path.name, str(path)] for path in paths)
    return text.getvalue()


def _name(given: str) -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", re.sub(r"\.[A-Za-z0-9]+$", "", given).lower()).strip("-")
    return name or "catalog"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
