"""The nearest of every item of a published version, as Parquet.

ruiji neighbors --store work/digits/store --k 10 --output work/digits/neighbors
ruiji neighbors --config configs/flink.yaml --k 50 --output /shared/neighbors
"""

from pathlib import Path
from typing import Any

from pipelines._job import Job
from pipelines._main import Main
from pipelines.next_version import cache_of_workers, options_for
from sim_transforms.commands.published import open_version_folder
from sim_transforms.errors import UsageError
from sim_transforms.find_neighbors import STAGE, FindNeighbors, NeighborsJob
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.options import check_reach
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.ledger import balance
from sim_transforms.records.manifests import NeighborsManifest
from sim_transforms.runs.folders import staged_folder
from sim_transforms.runs.stages import scratch_folder
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import SearchSettings
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file


def neighbors(main: Main) -> None:
    """`ruiji neighbors`."""
    given = main.arguments
    settings = main.settings() if given.config else load_settings(None, given.set or (), None, given.store)
    if not given.config and not given.store:
        raise UsageError(
            "which store? give --store FOLDER or gs://BUCKET/PREFIX, or --config FILE whose store is meant"
        )
    if not given.output:
        raise UsageError("--output DIR is required: the folder of the Parquet files")
    if given.k < 1:
        raise UsageError(f"--k: found {given.k}; at least 1 is expected")
    output = Path(given.output).absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    main.check_flags(settings)
    with staged_folder(output) as folder, scratch_folder(output.parent, output.name) as scratch:
        main_options = main.options(settings, anywhere=True)
        check_reach(main_options, bool(settings.beam.get("shared_filesystem")), str(output))
        opened = open_version_folder(settings.store, given.version, cache_of_workers(main_options, scratch))
        limits = settings.search if given.config else SearchSettings()
        job = NeighborsJob(str(opened.folder), opened.manifest, limits, str(folder), given.k)
        with Job(STAGE, options_for(main, settings, opened.manifest.items)) as pipeline:
            pipeline | "FindNeighbors" >> FindNeighbors(job) | "HandBack" >> HandBack(str(scratch / "ledger"), key=str)
        totals = balance(STAGE, read_rows(str(scratch / "ledger")), expected_in=opened.manifest.items)
        names = sorted(path.name for path in folder.glob("*.parquet"))
        manifest = NeighborsManifest(
            version=opened.version,
            k=given.k,
            space=opened.manifest.space,
            ledger=totals,
            files=tuple(file_entry(folder, name) for name in names),
        )
        write_file(folder / "manifest.json", canonical_json(manifest).encode())
    result: dict[str, Any] = {
        "version": opened.version,
        "items": totals.items_out,
        "k": given.k,
        "output": given.output,
    }
    main.answer(result, f"neighbors  {totals.items_out:,} items, {given.k} of each, in {given.output}")
