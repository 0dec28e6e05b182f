"""300 files, 30 of them broken in ten ways: each rejected with its reason, nothing lost, the limit held."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, ruiji

pytestmark = pytest.mark.slow

GOOD = 270


def _picture(kind: str, size: int = 32, **options: object) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(5).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG that declares 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _damaged_png() -> bytes:
    data = bytearray(_picture("PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


# What a broken item holds, and the reason it must be rejected with.
BROKEN: dict[str, tuple[bytes | None, set[str]]] = {
    "empty": (b"", {"empty"}),
    "text": (b"this is no picture at all\n" * 20, {"not_an_image"}),
    "cut_png": (_picture("PNG")[:900], {"truncated", "damaged"}),
    "cut_jpeg": (_picture("JPEG")[:400], {"truncated", "damaged"}),
    "flipped_png": (_damaged_png(), {"damaged", "truncated"}),
    "bomb": (_bomb(), {"too_large"}),
    "missing": (None, {"missing"}),
    "folder": (None, {"not_a_file"}),
    "head_only": (_picture("PNG")[:20], {"not_an_image", "truncated", "damaged"}),
    "outside": (None, {"outside_catalog"}),
}


def _catalog(folder: Path) -> Path:
    folder.mkdir()
    digits = load_digits()
    rows = []
    for place in range(GOOD):
        pixels = np.rint(digits.images[place] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"good-{place:03d}.png")
        rows.append(
            {"item_id": f"good-{place:03d}", "uri": f"good-{place:03d}.png", "label": int(digits.target[place])}
        )
    for kind, (data, _) in BROKEN.items():
        for copy in range(3):
            uri = f"{kind}-{copy}.png"
            if data is not None:
                (folder / uri).write_bytes(data)
            elif kind == "folder":
                os.mkdir(folder / uri)
            elif kind == "outside":
                uri = f"../{uri}"
            rows.append({"item_id": f"{kind}-{copy}", "uri": uri, "label": 0})
    path = folder / "catalog.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.fixture(scope="module")
def broken_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _catalog(tmp_path_factory.mktemp("broken") / "media")


def test_run_with_raised_limit_publishes_the_good_and_names_the_broken(broken_catalog: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, broken_catalog, preprocess={"max_reject_share": 0.2})
    done = ruiji("run", "--config", str(config), "--workdir", str(tmp_path / "work"), "--json", *ONE_PROCESS)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["items"], summary["accepted"], summary["rejected"]) == (300, GOOD, 30)
    rejects = pq.read_table(tmp_path / "work" / "examples" / "rejects.parquet").to_pylist()
    assert sorted(r["item_id"] for r in rejects) == sorted(f"{kind}-{copy}" for kind in BROKEN for copy in range(3))
    for reject in rejects:
        kind = reject["item_id"].rsplit("-", 1)[0]
        assert reject["reason"] in BROKEN[kind][1], reject
        assert reject["message"]
    ledger = json.loads((tmp_path / "work" / "examples" / "ledger.json").read_text())
    assert sum(e["items_in"] for e in ledger) == 300
    assert all(e["items_in"] == e["items_out"] + e["rejected"] + e["skipped"] for e in ledger)


def test_preprocess_with_default_limit_fails_and_says_so(broken_catalog: Path, tmp_path: Path) -> None:
    config = configuration(tmp_path, broken_catalog)
    work = tmp_path / "work"
    done = ruiji("preprocess", "--config", str(config), "--workdir", str(work), *ONE_PROCESS, expect=1)
    assert "30 of 300 items (10.0%) were rejected" in done.stderr
    assert "preprocess.max_reject_share" in done.stderr
    assert "Traceback" not in done.stderr
    assert pq.read_table(work / "rejects.parquet").num_rows == 30
    assert not (work / "examples").exists()


def test_preprocess_duplicate_ids_are_refused_with_their_rows(broken_catalog: Path, tmp_path: Path) -> None:
    lines = broken_catalog.read_text().splitlines()
    catalog = broken_catalog.parent / "twice.jsonl"
    catalog.write_text("\n".join([*lines[:20], lines[7], lines[3]]) + "\n")
    config = configuration(tmp_path, catalog)
    work = tmp_path / "work"
    done = ruiji("preprocess", "--config", str(config), "--workdir", str(work), *ONE_PROCESS, expect=2)
    assert "'good-003' in rows 4, 22" in done.stderr
    assert "'good-007' in rows 8, 21" in done.stderr
