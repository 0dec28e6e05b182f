"""Counters say what the ledger says where nothing is worked again."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms.counters import count, counted, counters_text
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.records.ledger import LedgerEntry, LedgerTotals, balance

ENTRIES = [
    LedgerEntry("embed", "a", 5, 5),
    LedgerEntry("embed", "b", 1_700, 1_500, 150, 50),
    LedgerEntry("clips", "a", 3, 0, 3),
]


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_counters_agree_with_the_ledger(mode: str, tmp_path: Path) -> None:
    flags = ["--runner=FnApiRunner", f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    entries = pipeline | beam.Create(ENTRIES) | beam.Reshuffle() | beam.Map(count)
    entries | HandBack(str(tmp_path / "rows"))
    result = pipeline.run()
    result.wait_until_finish()
    ledger = read_rows(str(tmp_path / "rows"))
    assert counted(result.metrics()) == {
        stage: balance(stage, [entry for entry in ledger if entry.stage == stage]) for stage in ("clips", "embed")
    }


def test_text_names_stages_where_there_are_several() -> None:
    embed, clips = LedgerTotals(1_705, 1_505, 150, 50), LedgerTotals(3, 3, 0, 0)
    assert counters_text({"embed": embed}) == "1,505 of 1,705 accepted, 150 rejected, 50 skipped"
    assert counters_text({"clips": clips, "embed": clips}) == "clips 3 of 3 accepted; embed 3 of 3 accepted"
