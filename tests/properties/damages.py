"""Seeded damages of small native files: every field, link and size by name, then a thousand by chance."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.file_format import (
    HEADER_BYTES,
    NativeIndex,
    header_bytes,
    read_index,
    record_bytes,
    upper_bytes,
)
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows

M = 4
# (space, dimension, items, with upper layers)
SHAPES = [
    ("l2", 1, 300, True),
    ("l2", 7, 300, False),
    ("l2", 16, 300, True),
    ("l2", 50, 300, True),
    ("inner_product", 1, 300, False),
    ("inner_product", 7, 300, True),
    ("inner_product", 16, 300, False),
    ("inner_product", 50, 300, True),
    ("l2", 16, 2, False),
    ("inner_product", 7, 2, False),
    ("l2", 50, 1, False),
    ("inner_product", 1, 1, False),
    ("l2", 7, 0, False),
    ("inner_product", 16, 0, False),
]
FIELDS = [
    ("optimised", 0, "<I"),
    ("items", 4, "<I"),
    ("record bytes", 8, "<Q"),
    ("offset of links", 16, "<Q"),
    ("offset of data", 24, "<Q"),
    ("max level", 32, "<i"),
    ("entry point", 36, "<I"),
    ("maxM", 40, "<Q"),
    ("maxM0", 48, "<Q"),
    ("distance", 56, "<i"),
    ("search method", 60, "<Q"),
]
# Another entry point may be as good, either distance is one, and without upper layers maxM may be maxM0.
LENIENT = {"entry point", "maxM", "distance"}


@dataclass(frozen=True)
class Base:
    """A whole file, and where its parts stand."""

    name: str
    space: str
    data: bytes
    index: NativeIndex

    @property
    def record(self) -> int:
        return self.index.header.record().itemsize

    @property
    def upper_at(self) -> int:
        return HEADER_BYTES + self.index.header.items * self.record


@dataclass(frozen=True)
class Damage:
    """A damaged file; `certain` ones must be refused, others may be harmless."""

    name: str
    data: bytes
    certain: bool


def bases(folder: Path) -> list[Base]:
    """The whole files of all shapes."""
    made = []
    for space, dimension, items, layered in SHAPES:
        name = f"{space}-{dimension}-{items}-{'layers' if layered else 'flat'}"
        path, settings = folder / name, IndexSettings(space=space, shard_items=60, m=M)  # type: ignore[arg-type]
        vectors = clustered(items, dimension, seed=dimension)
        if layered:
            build_whole(vectors, settings, path)
        else:
            path.write_bytes(_flat(vectors, settings))
        index = read_index(path)
        assert (index.header.max_level > 0) == layered, f"{name}: another seed is needed"
        made.append(Base(name, space, path.read_bytes(), index))
    return made


def _flat(vectors: Any, settings: IndexSettings) -> bytes:
    """A graph of layer 0 alone: the two nearest items and the two next rows, some links unused."""
    items, dimension = vectors.shape
    links = np.full((items, 2 * M), -1, np.int32)
    near = nearest_rows(settings.space, vectors, vectors, 3)
    for row in range(items):
        chosen = dict.fromkeys([*near[row].tolist(), (row + 1) % items, (row + 2) % items])
        chosen.pop(row, None)
        links[row, : len(chosen)] = list(chosen)
    upper = no_upper_layers()
    parts = [header_bytes(items, dimension, settings, upper), record_bytes(vectors, 0, links)]
    return b"".join([*parts, upper_bytes(0, items, upper, settings)])


def named_damages(base: Base) -> Iterator[Damage]:
    """One field, link or size each; sizes of the file."""
    for name, data, certain in (*_header(base), *_records(base), *_upper(base), *_lengths(base)):
        if data != base.data:
            yield Damage(f"{base.name}: {name}", data, certain)


def _with(data: bytes, place: int, layout: str, value: float) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, value)
    return bytes(changed)


def _header(base: Base) -> Iterator[tuple[str, bytes, bool]]:
    generator = np.random.default_rng(len(base.data))
    for name, place, layout in FIELDS:
        bits = 8 * struct.calcsize(layout)
        (own,) = struct.unpack_from(layout, base.data, place)
        drawn = generator.integers(0, [2**bits - 1, 2**31, 2**16, 400], dtype=np.uint64).tolist()
        for value in {0, 1, -1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), own + 1, own - 1, 2 * own, 4, *drawn}:
            bytes_ = (int(value) % 2**bits).to_bytes(bits // 8, "little")
            changed = base.data[:place] + bytes_ + base.data[place + bits // 8 :]
            yield f"header {name} {value}", changed, name not in LENIENT


def _records(base: Base) -> Iterator[tuple[str, bytes, bool]]:
    header = base.index.header
    at_count = 16 + 4 * header.dimension
    for row in sorted({0, header.items // 2, header.items - 1}) if header.items else ():
        count = int(base.index.records["count"][row])
        first = int(base.index.records["links"][row, 0])
        last = at_count + 4 * count
        changes: list[tuple[str, int, str, float, bool]] = [
            *((f"id {v}", 0, "<i", v, True) for v in (-1, row + 1, 2**31 - 1)),
            *((f"label {v}", 4, "<i", v, True) for v in (0, 1, 2**31 - 1)),
            *((f"vector bytes {v}", 8, "<Q", v, True) for v in (0, 4 * header.dimension + 4, 2**63, 2**32)),
            *((f"vector {v}", 16, "<f", v, True) for v in (np.nan, np.inf, -np.inf, 1e19, -3e38)),
            *((f"vector {v}", at_count - 4, "<f", v, False) for v in (0.0, -1e18, 1e-45)),
            *((f"link count {v}", at_count, "<i", v, True) for v in (-1, -(2**31), header.max_m0 + 1, 2**31 - 1)),
            *((f"link count {v}", at_count, "<i", v, False) for v in (0, count - (count > 0), count + 1)),
        ]
        if count:
            wrong = (-1, -(2**31), header.items, 2**31 - 1, row)
            changes += [(f"link {v}", last, "<i", v, True) for v in wrong]
            changes += [(f"link {v}", last, "<i", v, False) for v in (0, header.items - 1, (row + 7) % header.items)]
        if count > 1:
            changes.append(("link twice", last, "<i", first, True))
        if count < header.max_m0:
            changes += [(f"unused link {v}", last + 4, "<i", v, False) for v in (-1, 2**31 - 1, 0x01010101)]
        for name, place, layout, value, certain in changes:
            start = HEADER_BYTES + row * base.record
            yield f"row {row} {name}", _with(base.data, start + place, layout, value), certain


def _upper(base: Base) -> Iterator[tuple[str, bytes, bool]]:
    header, levels, words = base.index.header, base.index.levels, base.index.upper
    block = 4 * (header.max_m + 1)
    sizes = [0, 1, 4, -4, -1, block, 2 * block, block - 4, 64 * block, 2**31 - 1, -(2**31)]
    above = np.flatnonzero(levels).tolist()
    for row in sorted({0, header.items - 1, *above[:2], *above[-1:]}) if header.items else ():
        place = base.upper_at + 4 * (int(base.index.starts[row]) - 1)
        yield from ((f"upper size of row {row} {v}", _with(base.data, place, "<i", v), True) for v in sizes)
    low = int(np.flatnonzero(levels == 0)[0]) if header.items else 0
    for row in sorted({*above[:3], header.entry_row}) if above else ():
        start = int(base.index.starts[row])
        place, count = base.upper_at + 4 * start, int(words[start])
        counts = [(-1, True), (header.max_m + 1, True), (2**31 - 1, True), (0, False)]
        yield from ((f"upper count of row {row} {v}", _with(base.data, place, "<i", v), c) for v, c in counts)
        links = [-1, header.items, 2**31 - 1, row, low] if count else []
        yield from ((f"upper link of row {row} {v}", _with(base.data, place + 4, "<i", v), True) for v in links)
        if count > 1:
            yield f"upper link of row {row} twice", _with(base.data, place + 8, "<i", words[start + 1]), True


def _lengths(base: Base) -> Iterator[tuple[str, bytes, bool]]:
    size, record, items = len(base.data), base.record, base.index.header.items
    borders = [0, HEADER_BYTES, HEADER_BYTES + record, HEADER_BYTES + items // 2 * record, base.upper_at, size]
    near = {b + d for b in borders for d in (-20, -8, -4, -1, 0, 1, 4, 8, 20)}
    for length in sorted({*near, size // 2, size // 3, HEADER_BYTES // 2}):
        if 0 <= length < size:
            yield f"cut to {length}", base.data[:length], True
            yield f"zeros from {length}", base.data[:length] + bytes(size - length), False
    block = 4 * (base.index.header.max_m + 1)
    for extra in (1, 3, 4, block, 7 * block, record + 4, 4096):
        yield f"{extra} zeros more", base.data + bytes(extra), True
        yield f"{extra} bytes again", base.data + base.data[-extra:], True
    yield "twice", base.data * 2, True


def random_damage(seed: int, files: list[Base]) -> Damage:
    """The damage of one seed; may by chance be none."""
    generator = np.random.default_rng((7, seed))
    base = files[seed % len(files)]
    kind = list(KINDS)[int(generator.integers(len(KINDS)))]
    return Damage(f"seed {seed}, {base.name}: {kind}", KINDS[kind](generator, base, files), kind in CERTAIN)


def _flipped(count: int) -> Callable[..., bytes]:
    def flip(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
        return _flip(generator, base.data, 0, len(base.data), count)

    return flip


def _flip(generator: np.random.Generator, data: bytes, low: int, high: int, count: int) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    if high > low:
        for place in generator.integers(low, high, count):
            changed[place] ^= np.uint8(1 << int(generator.integers(8)))
    return changed.tobytes()


def _flip_header(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    return _flip(generator, base.data, 0, HEADER_BYTES, int(generator.integers(1, 4)))


def _flip_links(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    """Low bits of links and counts, which often gives other valid links."""
    words = np.frombuffer(base.data, "<i4").copy()
    header = base.index.header
    for _ in range(int(generator.integers(1, 6)) if header.items else 0):
        row, slot = int(generator.integers(header.items)), int(generator.integers(1 + header.max_m0))
        place = (HEADER_BYTES + row * base.record) // 4 + 4 + header.dimension + slot
        words[place] ^= 1 << int(generator.integers(9))
    return words.tobytes()


def _flip_upper(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    return _flip(generator, base.data, base.upper_at, len(base.data), int(generator.integers(1, 4)))


def _region(generator: np.random.Generator, size: int) -> tuple[int, int]:
    start = int(generator.integers(size))
    return start, min(size, start + int(2 ** generator.uniform(0, 12)))


def _zeroed(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    low, high = _region(generator, len(base.data))
    return base.data[:low] + bytes(high - low) + base.data[high:]


def _noise(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    low, high = _region(generator, len(base.data))
    return base.data[:low] + generator.bytes(high - low) + base.data[high:]


def _moved(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    low, high = _region(generator, len(base.data))
    start = int(generator.integers(len(base.data) - (high - low) + 1))
    return base.data[:low] + base.data[start : start + high - low] + base.data[high:]


def _swapped_records(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    if base.index.header.items < 2:
        return base.data
    a, b = sorted(generator.choice(base.index.header.items, 2, replace=False).tolist())
    low, high = HEADER_BYTES + a * base.record, HEADER_BYTES + b * base.record
    first, second = base.data[low : low + base.record], base.data[high : high + base.record]
    return base.data[:low] + second + base.data[low + base.record : high] + first + base.data[high + base.record :]


def _swapped_halves(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    middle = int(generator.integers(1, len(base.data)))
    return base.data[middle:] + base.data[:middle]


def _half_twice(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    half = len(base.data) // 2
    rest = len(base.data) - half
    return base.data[:half] + base.data[:rest] if generator.random() < 0.5 else base.data[rest:] * 2


def _spliced(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    other = files[int(generator.integers(len(files)))]
    place = int(generator.integers(len(base.data)))
    return base.data[:place] + other.data[place:]


def _cut(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    return base.data[: int(generator.integers(len(base.data)))]


def _longer(generator: np.random.Generator, base: Base, files: list[Base]) -> bytes:
    return base.data + generator.bytes(int(generator.integers(1, 200)))


KINDS: dict[str, Callable[[np.random.Generator, Base, list[Base]], bytes]] = {
    "1 bit": _flipped(1),
    "2 bits": _flipped(2),
    "5 bits": _flipped(5),
    "50 bits": _flipped(50),
    "bits of the header": _flip_header,
    "bits of links": _flip_links,
    "bits of upper links": _flip_upper,
    "zeros": _zeroed,
    "noise": _noise,
    "moved bytes": _moved,
    "swapped records": _swapped_records,
    "swapped halves": _swapped_halves,
    "half twice": _half_twice,
    "another file's end": _spliced,
    "cut": _cut,
    "longer": _longer,
}
CERTAIN = {"swapped records", "swapped halves", "cut", "longer"}
