"""Prism, which Beam's DirectRunner becomes where it may download it, gives the bytes of Beam's own runner."""

from pathlib import Path

import pytest

from tests.pipelines.small_catalogs import TWO_PROCESSES
from tests.runners.install import PRISM
from tests.runners.jobs import differences, index_words, run_digits

pytestmark = [pytest.mark.prism, pytest.mark.timeout(900)]
FLAGS = ("--runner=PrismRunner", f"--prism_location={PRISM}")


def test_prism_digits_give_the_bytes_of_one_process(tmp_path: Path, digits_in_one_process: dict[str, bytes]) -> None:
    assert len(digits_in_one_process) > 20
    assert differences(run_digits(tmp_path / "work", FLAGS), digits_in_one_process) == []


def test_prism_words_give_the_bytes_of_one_process(
    tmp_path: Path, words: Path, words_in_one_process: dict[str, bytes]
) -> None:
    assert differences(index_words(words, tmp_path / "work", FLAGS), words_in_one_process) == []


def test_two_processes_give_the_bytes_of_one(
    tmp_path: Path, words: Path, words_in_one_process: dict[str, bytes], digits_in_one_process: dict[str, bytes]
) -> None:
    assert differences(index_words(words, tmp_path / "words", TWO_PROCESSES), words_in_one_process) == []
    assert differences(run_digits(tmp_path / "digits", TWO_PROCESSES), digits_in_one_process) == []
