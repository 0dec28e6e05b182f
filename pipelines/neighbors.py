"""The nearest of every item of a published version, as Parquet, and what their graph tells: duplicates, communities.

ruiji neighbors --store work/digits/store --k 10 --output work/digits/neighbors
ruiji duplicates --store work/digits/store --max-distance 0.02 --output work/digits/duplicates
ruiji neighbors --config configs/flink.yaml --k 50 --output /shared/neighbors
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines._job import Job
from pipelines._main import Main
from pipelines.next_version import cache_of_workers, options_for
from sim_transforms.commands.neighbor_graph import read_graph, write_clusters, write_duplicates
from sim_transforms.commands.published import Opened, open_version_folder
from sim_transforms.errors import UsageError
from sim_transforms.find_neighbors import STAGE, FindNeighbors, NeighborsJob
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.options import check_reach
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.ledger import LedgerTotals, balance
from sim_transforms.records.manifests import ClustersManifest, DuplicatesManifest, Manifest, NeighborsManifest
from sim_transforms.runs.folders import output_folder
from sim_transforms.runs.stages import scratch_folder
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import SearchSettings, Settings
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file


@dataclass(frozen=True)
class _Searched:
    """What a job has found.

    Attributes:
        opened: the version whose items were searched.
        files: folder of the Parquet files.
        ledger: of the items.
    """

    opened: Opened
    files: Path
    ledger: LedgerTotals


def neighbors(main: Main) -> None:
    """`ruiji neighbors`."""
    given = main.arguments
    with _output(main, NeighborsManifest) as folder, _searched(main, folder) as found:
        names = sorted(path.name for path in folder.glob("*.parquet"))
        manifest = NeighborsManifest(
            version=found.opened.version,
            k=given.k,
            space=found.opened.manifest.space,
            ledger=found.ledger,
            files=tuple(file_entry(folder, name) for name in names),
        )
        write_file(folder / "manifest.json", canonical_json(manifest).encode())
    items = manifest.ledger.items_out
    result: dict[str, Any] = {"version": manifest.version, "items": items, "k": given.k, "output": given.output}
    main.answer(result, f"neighbors  {items:,} items, {given.k} of each, in {given.output}")


def duplicates(main: Main) -> None:
    """`ruiji duplicates`."""
    given = main.arguments
    if given.max_distance is None or not math.isfinite(given.max_distance):
        raise UsageError(
            "--max-distance: up to which distance are two items near duplicates? 0 finds the very same vectors; "
            "`ruiji search --item` and `ruiji neighbors` show distances"
        )
    with _output(main, DuplicatesManifest) as folder, _searched(main) as found:
        graph = read_graph(found.files, found.opened, given.k)
        told = write_duplicates(graph, found.opened, given.max_distance, folder)
    more = ""
    if told.full:
        more = f"\n           {told.full:,} items have {told.k} neighbours so near, and may have more: try a larger --k"
    result: dict[str, Any] = {
        name: getattr(told, name) for name in ("version", "items", "groups", "grouped", "full")
    } | {"output": given.output}
    main.answer(
        result,
        f"duplicates {told.grouped:,} of {told.items:,} items in {told.groups:,} groups, in {given.output}{more}",
    )


def cluster(main: Main) -> None:
    """`ruiji cluster`."""
    given = main.arguments
    if not 0 < given.resolution < math.inf:
        raise UsageError(f"--resolution: found {given.resolution}; a number above 0 is expected")
    if not 0 <= given.seed < 2**32:
        raise UsageError(f"--seed: found {given.seed}; 0 to {2**32 - 1} is expected")
    with _output(main, ClustersManifest) as folder, _searched(main) as found:
        graph = read_graph(found.files, found.opened, given.k)
        told = write_clusters(graph, found.opened, given.resolution, given.seed, folder)
    result: dict[str, Any] = {
        "version": told.version,
        "items": told.items,
        "clusters": told.clusters,
        "largest": told.largest,
        "modularity": told.modularity,
        "output": given.output,
    }
    main.answer(
        result,
        f"clusters   {told.clusters:,} of {told.items:,} items, the largest of {told.largest:,}, in {given.output}",
    )


@contextmanager
def _output(main: Main, kind: type[Manifest]) -> Iterator[Path]:
    """An empty folder that takes the place of --output."""
    given = main.arguments
    if not given.output:
        raise UsageError("--output DIR is required: the folder of the Parquet files")
    if given.k < 1:
        raise UsageError(f"--k: found {given.k}; at least 1 is expected")
    _settings(main)
    output = Path(given.output).absolute()
    with output_folder(output, kind) as folder:
        yield folder


@contextmanager
def _searched(main: Main, folder: Path | None = None) -> Iterator[_Searched]:
    """Searches every item of the version; ids to `folder`, or places to a folder that is gone afterwards."""
    given, settings, output = main.arguments, _settings(main), Path(main.arguments.output).absolute()
    main.check_flags(settings)
    with scratch_folder(output.parent, output.name) as scratch:
        main_options = main.options(settings, anywhere=True)
        check_reach(main_options, bool(settings.beam.get("shared_filesystem")), str(output))
        opened = open_version_folder(settings.store, given.version, cache_of_workers(main_options, scratch))
        if given.command == "duplicates" and opened.manifest.space == "inner_product":
            raise UsageError("a product is no distance: in the space inner_product a copy is not what is nearest")
        files = folder or scratch / "graph"
        files.mkdir(exist_ok=True)
        limits = settings.search if given.config else SearchSettings()
        job = NeighborsJob(str(opened.folder), opened.manifest, limits, str(files), given.k, places=folder is None)
        with Job(main.arguments.command, options_for(main, settings, opened.manifest.items)) as pipeline:
            pipeline | "FindNeighbors" >> FindNeighbors(job) | "HandBack" >> HandBack(str(scratch / "ledger"), key=str)
        totals = balance(STAGE, read_rows(str(scratch / "ledger")), expected_in=opened.manifest.items)
        yield _Searched(opened, files, totals)


def _settings(main: Main) -> Settings:
    given = main.arguments
    if given.config:
        return main.settings()
    if not given.store:
        raise UsageError(
            "which store? give --store FOLDER or gs://BUCKET/PREFIX, or --config FILE whose store is meant"
        )
    return load_settings(None, given.set or (), None, given.store)
