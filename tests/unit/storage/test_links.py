"""Files under a second name, and files whose writing begins before they are whole."""

import os
from pathlib import Path

import pytest

from sim_transforms.storage.files import EarlyWrites, link_file


def test_link_takes_the_place_of_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    link_file(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new"
    assert (tmp_path / "old").samefile(tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "old"]


def test_file_system_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(95, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "new").write_bytes(b"new")
    link_file(tmp_path / "new", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"
    assert not (tmp_path / "copy").samefile(tmp_path / "new")


def test_early_writes_are_asked_for_once_enough_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: asked.append(descriptor))
    with (tmp_path / "file").open("wb") as file, EarlyWrites(file.fileno(), every_bytes=100) as early:
        for _ in range(9):
            early.add(10)
        assert asked == []
        early.add(10)
        expected = [file.fileno()]
    assert asked == expected
