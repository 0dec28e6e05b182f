"""Damaged files are refused with what and where, or NMSLIB answers from them; nothing crashes, hangs or grows."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact
from sim_transforms.hnsw.file_format import HEADER_BYTES, read_header, read_index, read_vector
from tests.properties.damages import KINDS, Base, Damage, bases, named_damages, random_damage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = 1000
MOST_BYTES = 2**20
PLACE = re.compile(
    r"is not a whole index: (header field [\w ]+ is -?\d+ in a file of \d+ bytes, expected"
    r"|\d+ bytes are no header of 68"
    r"|-?\d+ bytes of upper links in a file of \d+ bytes"
    r"|record of row \d+ at byte \d+: "
    r"|upper links of row \d+ at byte \d+: "
    r"|the entry point, row \d+, is at level \d+)"
)


@dataclass(frozen=True)
class Outcome:
    """What the reader said of a damaged file: its refusal or null, the most memory it held, the time it took."""

    damage: Damage
    path: Path
    refusal: str | None
    peak_bytes: int
    seconds: float


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> list[Base]:
    return bases(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def outcomes(whole_files: list[Base], tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Of all damages; whatever is raised but DamagedArtefact fails the tests here."""
    folder = tmp_path_factory.mktemp("damaged")
    whole = {base.data for base in whole_files}
    drawn = [random_damage(seed, whole_files) for seed in range(SEEDS)]
    named = [damage for base in whole_files for damage in named_damages(base)]
    tracemalloc.start()
    try:
        return [_outcome(d, folder / f"{n}.hnsw") for n, d in enumerate([*named, *drawn]) if d.data not in whole]
    finally:
        tracemalloc.stop()


def _outcome(damage: Damage, path: Path) -> Outcome:
    path.write_bytes(damage.data)
    tracemalloc.reset_peak()
    before, start, refusal = tracemalloc.get_traced_memory()[0], time.perf_counter(), None
    try:
        read_index(path)
    except DamagedArtefact as error:
        refusal = str(error)
    except BaseException as error:
        error.add_note(damage.name)
        raise
    seconds = time.perf_counter() - start
    outcome = Outcome(damage, path, refusal, tracemalloc.get_traced_memory()[1] - before, seconds)
    if refusal:
        path.unlink()
    return outcome


def test_damages_are_many_of_each_kind_and_both_refused_and_not(outcomes: list[Outcome]) -> None:
    drawn = [o for o in outcomes if o.damage.name.startswith("seed ")]
    assert len(drawn) > 0.9 * SEEDS
    assert len(outcomes) - len(drawn) > 1000
    assert all(sum(o.damage.name.endswith(f": {kind}") for o in drawn) > 20 for kind in KINDS)
    assert 0.1 < sum(o.refusal is None for o in drawn) / len(drawn) < 0.6


def test_read_index_certain_damages_are_all_refused(outcomes: list[Outcome]) -> None:
    assert not [o.damage.name for o in outcomes if o.damage.certain and o.refusal is None]


def test_read_index_refusals_name_what_and_where(outcomes: list[Outcome]) -> None:
    assert not [f"{o.damage.name}: {o.refusal}" for o in outcomes if o.refusal and not PLACE.search(o.refusal)]


def test_read_index_damaged_files_take_little_memory_and_time(outcomes: list[Outcome]) -> None:
    assert max(outcomes, key=lambda o: o.peak_bytes).peak_bytes < MOST_BYTES
    # Each file is some tens of kB and takes under a millisecond; a second leaves room for a busy machine.
    slow = [o.damage.name for o in outcomes if o.seconds > 1]
    assert len(slow) <= 1, f"{slow}: one may meet the compilation of the kernels"


def test_read_vector_raises_nothing_but_damaged_artefact(whole_files: list[Base], tmp_path: Path) -> None:
    path, read = tmp_path / "index.hnsw", 0
    for seed in range(0, SEEDS, 5):
        path.write_bytes(random_damage(seed, whole_files).data)
        with suppress(DamagedArtefact):
            assert len(read_vector(path, 0)) == read_header(path).dimension
            read += 1
    assert 0.1 < read / (SEEDS / 5) < 0.9


def test_nmslib_answers_from_every_file_that_is_not_refused(whole_files: list[Base], outcomes: list[Outcome]) -> None:
    taken = [o for o in outcomes if o.refusal is None]
    names = {str(o.path): o.damage.name for o in taken}
    lines, status = _search([o.path for o in taken])
    opened = [line.removeprefix("open ") for line in lines if line.startswith("open ")]
    assert status == 0, f"the process ended with {status} at {names.get(opened[-1]) if opened else 'its start'}"
    assert not [names[line.split(": ")[0].removeprefix("wrong ")] + line for line in lines if line.startswith("wrong ")]
    loaded = [path for path in names if read_header(Path(path)).items]
    assert sorted(line.removeprefix("fine ") for line in lines if line.startswith("fine ")) == sorted(loaded)
    assert int(lines[-1].removeprefix("grown ")) < 64


def test_nmslib_ends_the_process_at_a_file_that_is_refused(whole_files: list[Base], tmp_path: Path) -> None:
    # So that the test above is known to see a crash: every row's first link stands 2^31 rows away.
    base = next(b for b in whole_files if b.name == "l2-16-300-layers")
    records = np.frombuffer(base.data, base.index.header.record(), 300, HEADER_BYTES).copy()
    records["links"][:, 0] = 2**31 - 1
    path = tmp_path / "index.hnsw"
    path.write_bytes(base.data[:HEADER_BYTES] + records.tobytes() + base.data[base.upper_at :])
    with pytest.raises(DamagedArtefact, match="record of row 0 at byte"):
        read_index(path)
    lines, status = _search([path])
    assert (lines, status) == ([f"open {path}"], -signal.SIGSEGV)


def _search(paths: list[Path]) -> tuple[list[str], int]:
    """(lines, exit status) of the process that loads and searches the files, those of 0 items left out."""
    headers = {path: read_header(path) for path in paths}
    files = [
        {
            "path": str(path),
            "space": "inner_product" if header.is_inner_product else "l2",
            "dimension": header.dimension,
            "items": header.items,
        }
        for path, header in headers.items()
        if header.items
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.properties.search_files"],
        input=json.dumps(files),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    return done.stdout.splitlines(), done.returncode
