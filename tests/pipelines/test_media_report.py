"""The page about media of small catalogs whose duplicates, leaks and rejects are known: the exact counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, ruiji
from tests.unit.report.elements import elements_of

pytestmark = pytest.mark.slow

_RATE = 16_000


def _picture(seed: int) -> np.ndarray:
    """Blots that no other seed has: the hashes of random pictures are some 32 bits apart."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC))


def _sound(seed: int, seconds: float) -> np.ndarray:
    """Notes of random pitch, four a second."""
    rng = np.random.default_rng(seed)
    pitches = np.repeat(rng.uniform(100, 6000, int(4 * seconds)), _RATE // 4)
    return 0.5 * np.sin(2 * np.pi * np.cumsum(pitches) / _RATE)


def _write(folder: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    path = folder / "catalog.jsonl"
    names = ("item_id", "uri", "label", "split")
    path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows) + "\n")
    return path


def _pictures(folder: Path) -> Path:
    """20 pictures, a group of three files with other labels, one of two, near ones, flat ones and broken ones."""
    folder.mkdir()
    rows = []
    for seed in range(20):
        Image.fromarray(_picture(seed)).save(folder / f"{seed}.png")
        rows.append((f"p{seed}", f"{seed}.png", "even" if seed % 2 == 0 else "odd", "train" if seed < 14 else "test"))
    for name, of, label, split in (
        ("same-a", 0, "odd", "test"),
        ("same-b", 0, "even", "train"),
        ("same-c", 15, "odd", "test"),
    ):
        (folder / f"{name}.png").write_bytes((folder / f"{of}.png").read_bytes())
        rows.append((name, f"{name}.png", label, split))
    for name, of, split in (("near-a", 1, "test"), ("near-b", 2, "train"), ("near-c", 16, "test")):
        Image.fromarray(_picture(of)).save(folder / f"{name}.jpg", quality=92)
        rows.append((name, f"{name}.jpg", "odd", split))
    for level in range(3):
        Image.new("L", (64, 64), 60 * level + 30).save(folder / f"flat{level}.png")
        rows.append((f"flat{level}", f"flat{level}.png", "flat", "test" if level else "train"))
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:200])
    Image.new("RGB", (400, 4), (200, 30, 30)).save(folder / "strip.png")
    rows += [(f"<b>{name}", f"{name}.png", "odd", "train") for name in ("text", "cut", "strip", "gone")]
    return _write(folder, rows)


def _sounds(folder: Path) -> Path:
    """Six sounds of three clips, a copy, a quieter one, one without a sound."""
    folder.mkdir()
    rows = []
    for seed in range(6):
        soundfile.write(folder / f"{seed}.wav", _sound(seed, 3), _RATE)
        rows.append((f"s{seed}", f"{seed}.wav", f"song {seed}", "train" if seed < 4 else "test"))
    (folder / "copy.wav").write_bytes((folder / "0.wav").read_bytes())
    soundfile.write(folder / "quiet.wav", 0.5 * _sound(1, 3), _RATE)
    soundfile.write(folder / "silent.wav", np.zeros(_RATE * 2), _RATE)
    rows += [("copy", "copy.wav", "song 0", "test"), ("quiet", "quiet.wav", "song 1", "test")]
    return _write(folder, [*rows, ("silent", "silent.wav", "none", "train")])


def _reported(folder: Path, catalog: Path, output: str, **sections: object) -> tuple[dict[str, Any], str]:
    config = configuration(folder, catalog, **{"preprocess": {"max_reject_share": 0.5}, **sections})
    work = ("--config", str(config), "--workdir", str(folder / f"work-{output}"))
    ruiji("preprocess", *work, *ONE_PROCESS)
    done = ruiji("report", "--media", *work, "--output", str(folder / output), "--json")
    return json.loads(done.stdout.splitlines()[-1]), (folder / output / "media.html").read_text()


def test_report_media_of_pictures_counts_what_was_put_in(tmp_path: Path) -> None:
    media = {"height": 32, "width": 32, "max_aspect": 20}
    result, page = _reported(tmp_path, _pictures(tmp_path / "media"), "page", media=media)
    assert result["report"] == str(tmp_path / "page" / "media.html")
    assert result["rejects"] == {"missing": 1, "not_an_image": 1, "too_long": 1, "truncated": 1}
    assert result["duplicates"] == {
        # p0, same-a, same-b of two labels; p15, same-c
        "exact": {"groups": 2, "files": 5, "labels_differ": 1},
        # p1 near-a; p2 near-b, whose labels differ; p16 near-c, whose labels differ
        "near": {"groups": 3, "items": 6, "labels_differ": 2, "complete": True},
        "flat": 3,
    }
    # same-a is a copy of p0, near-a of p1; the others have no copy in another split.
    assert result["leaks"] == {"exact": 1, "near": 1, "test": 12}
    elements = elements_of(page)
    assert sum(a.get("alt") == "picture of <b>strip" for tag, a in elements if tag == "img") == 1
    assert "&lt;b&gt;text" in page
    assert str(tmp_path) not in page


def test_report_media_of_sounds_counts_what_was_put_in(tmp_path: Path) -> None:
    media = {"kind": "audio", "sample_rate": _RATE, "seconds": 1.0, "hop_seconds": 1.0}
    result, page = _reported(tmp_path, _sounds(tmp_path / "media"), "page", media=media)
    assert result["rejects"] == {"silent": 1}
    assert result["duplicates"]["exact"] == {"groups": 1, "files": 2, "labels_differ": 0}
    assert result["duplicates"]["near"] == {"groups": 3, "items": 6, "labels_differ": 0, "complete": True}
    assert result["leaks"] == {"exact": 3, "near": 3, "test": 12}
    tags = [tag for tag, _ in elements_of(page)]
    assert 0 < tags.count("audio") <= 20
    assert str(tmp_path) not in page


def test_report_media_of_the_same_catalog_elsewhere_gives_the_same_bytes(tmp_path: Path) -> None:
    media = {"height": 32, "width": 32, "max_aspect": 20}
    catalogs = [_pictures(tmp_path / name) for name in ("here", "there")]
    pages = [_reported(tmp_path, catalog, str(n), media=media)[1] for n, catalog in enumerate(catalogs)]
    assert pages[0] == pages[1]


def test_report_media_without_configuration_says_what_to_give(tmp_path: Path) -> None:
    done = ruiji("report", "--media", "--output", str(tmp_path), expect=2)
    assert "--media needs --config" in done.stderr
