"""What Dataflow is asked for: the real requests and staged graphs, and that these graphs give the bytes of one process.

The service is a stand-in (`dataflow.py`): this shows what is submitted, not how Google's machines take it.
"""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from google.cloud.storage import Client

from pipelines.cli import main
from sim_transforms.storage.gcs import GcsStore
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import list_versions
from tests.contracts.gcs_server import BUCKET
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog, published_bytes
from tests.runners.dataflow import IMAGE, PROJECT, REGION, Dataflow, Job, hints_of, work
from tests.runners.jobs import ROOT, SHARED, differences

pytestmark = pytest.mark.slow
JOBS = ("preprocess", "analyze", "embed", "index")
T4 = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
FLAGS = ("--machine_type=n2-standard-4", "--max_num_workers=3", "--labels=team=search", "--disk_size_gb=60")
GIB = 2**30
LAUNCH = ROOT / "configs" / "dataflow" / "launch.py"


@pytest.fixture(scope="module")
def dataflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataflow]:
    with Dataflow(tmp_path_factory.mktemp("dataflow")) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", running.gate.url)
        # Beam's file systems look for Google's credentials whatever --no_auth says.
        patch.setattr("apache_beam.internal.gcp.auth.get_service_credentials", lambda options: None)
        with Client.create_anonymous_client() as client:
            client.create_bucket(BUCKET)
        yield running


@pytest.fixture(scope="module")
def run_alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration, and the folder of its run in one process."""
    folder = tmp_path_factory.mktemp("digits")
    config = configuration(folder, digits_catalog(folder / "media", 120))
    assert main(["run", "--config", str(config), "--workdir", str(folder / "work"), *ONE_PROCESS]) == 0
    return config, folder / "work"


@pytest.fixture(scope="module")
def run_there(dataflow: Dataflow, run_alone: tuple[Path, Path]) -> tuple[Path, list[Job]]:
    """The folder of the same run by Dataflow, and the jobs that it submitted."""
    config, alone = run_alone
    folder, accelerator = alone.parent / "there", ("--set", f"beam.embed_accelerator={T4}")
    dataflow.works = True
    dataflow.jobs.clear()
    where = ("--config", str(config), "--workdir", str(folder), *SHARED, *accelerator)
    assert main(["run", *where, *dataflow.flags("run"), *FLAGS]) == 0
    return folder, list(dataflow.jobs)


def test_staged_jobs_give_the_bytes_of_one_process(
    run_alone: tuple[Path, Path], run_there: tuple[Path, list[Job]]
) -> None:
    found, expected = published_bytes(run_there[0] / "store"), published_bytes(run_alone[1] / "store")
    assert len(expected) >= 6
    assert differences(found, expected) == []
    assert [job.error for job in run_there[1]] == ["", "", "", ""]


def test_requests_name_job_image_machines_and_labels(run_there: tuple[Path, list[Job]]) -> None:
    assert [job.request["name"] for job in run_there[1]] == [f"ruiji-small-{name}" for name in JOBS]
    for job in run_there[1]:
        assert job.request["labels"] == {"team": "search"}
        assert job.request["type"] == 1  # batch
        assert {"use_runner_v2", "use_multiple_sdk_containers"} <= set(job.environment["experiments"])
        assert job.environment["userAgent"]["version"] == beam.__version__
        told = {name: job.options[name] for name in ("project", "region", "sdk_container_image", "runner")}
        assert told == {
            "project": PROJECT,
            "region": REGION,
            "sdk_container_image": IMAGE,
            "runner": "DataflowRunner",
        }
        pool = job.pool
        assert (pool["machineType"], pool["diskSizeGb"]) == ("n2-standard-4", 60)
        assert pool["autoscalingSettings"]["maxNumWorkers"] == 3
        images = pool["sdkHarnessContainerImages"]
        assert {image["containerImage"] for image in images} == {IMAGE}
        # A process a core, which the hints count on.
        assert all(image["useSingleCorePerContainer"] for image in images)


def test_nothing_but_the_graph_is_staged(dataflow: Dataflow, run_there: tuple[Path, list[Job]]) -> None:
    """The image holds everything: no package travels, and no main session."""
    folders = {}
    for job in run_there[1]:
        (package,) = job.pool["packages"]
        assert package["name"] == "submission_environment_dependencies.txt"
        url = job.options["pipelineUrl"]
        assert re.fullmatch(rf"gs://{BUCKET}/run/staging/{job.request['name']}\.[\d.]+/pipeline\.pb", url)
        folders[url.rsplit("/", 1)[0]] = dataflow.read(url.replace("pipeline.pb", package["name"])).decode()
    assert len(folders) == 4
    assert all(f"apache-beam=={beam.__version__}" in listed for listed in folders.values())
    staged = {name.rsplit("/", 1)[1] for name in dataflow.names("run/")}
    assert staged == {"pipeline.pb", "submission_environment_dependencies.txt"}


def test_preprocessing_asks_for_nothing(run_there: tuple[Path, list[Job]]) -> None:
    written, analyzed = run_there[1][:2]
    assert {"ReadCatalog", "WriteExamples", "HandBackReports"} <= set(written.hints())
    assert "AnalyzeExamples" in analyzed.hints()
    for job in (written, analyzed):
        assert not any(job.hints().values())
        assert len(job.pool["sdkHarnessContainerImages"]) == 1


def test_embedding_asks_for_an_accelerator_and_memory(run_there: tuple[Path, list[Job]]) -> None:
    hints = run_there[1][2].hints()
    asking = {name: found for name, found in hints.items() if found}
    for step in ("ReadBatches", "Embed", "KeyByShard"):
        found = asking[f"EmbedExamples/{step}"]
        assert found["accelerator"] == T4
        # Four cores, a process each, which holds TensorFlow.
        assert 4 * GIB <= int(found["min_ram_bytes"]) <= 8 * GIB
    assert {name.split("/")[1] for name in asking} == {"ReadBatches", "Embed", "KeyByShard"}
    assert not hints["EmbedExamples/Write"]
    assert not hints["HandBackLedger"]
    assert len(run_there[1][2].pool["sdkHarnessContainerImages"]) == 2


HEAVY = {
    "FitPartition/Fit",
    "AssignShards/SplitAndWrite",
    "BuildShards",
    "LinkShards",
    "MergeShards",
    "MeasureRecall",
    "MeasureShards",
    "Peak assign",
    "Peak build",
    "Peak merge",
    "Peak measure",
}


def test_index_asks_for_memory_where_a_shard_is_held(run_there: tuple[Path, list[Job]]) -> None:
    hints = run_there[1][3].hints()
    for name, found in hints.items():
        inner = name.removeprefix("BuildIndex/")
        is_heavy = any(inner == stage or inner.startswith(f"{stage}/") for stage in HEAVY)
        assert set(found) == ({"min_ram_bytes"} if is_heavy else set()), name
    assert {f"BuildIndex/{stage}" for stage in HEAVY} <= set(hints)
    assert len({found["min_ram_bytes"] for found in hints.values() if found}) == 1
    assert len(run_there[1][3].pool["sdkHarnessContainerImages"]) == 2


def test_failed_job_is_told_with_its_message(
    dataflow: Dataflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(8, dtype=np.float32))
    dataflow.works, dataflow.failing = False, "Startup of the worker pool failed: quota of n2 cores"
    try:
        where = ("--embeddings", str(tmp_path / "vectors.npy"), "--workdir", str(tmp_path / "work"), *SHARED)
        assert main(["index", *where, *dataflow.flags("failed")]) == 1
    finally:
        dataflow.failing = ""
    said = capsys.readouterr().err
    assert "error: index: job " in said
    assert "quota of n2 cores" in said.splitlines()[-1]
    assert not (tmp_path / "work" / "store" / "LATEST").exists()


def test_template_stages_a_job_whose_worker_reindexes(
    dataflow: Dataflow, run_alone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, alone = run_alone
    shutil.copytree(alone, tmp_path / "work")
    smaller = config.parent / "media" / "smaller.csv"
    smaller.write_text("\n".join((config.parent / "media" / "small.csv").read_text().splitlines()[:-2]) + "\n")
    url = f"gs://{BUCKET}/launch/staging/template_launches/1/job_object"
    launched = (
        f"--config={config}",
        f"--workdir={tmp_path / 'work'}",
        f"--set=catalog.source={smaller};versions.keep=3",
        f"--template_location={url}",
        "--job_name=nightly",
        '--labels={\n   "goog-dataflow-provided-template-type" : "flex"\n}\n',
        *dataflow.flags("launch"),
    )
    dataflow.jobs.clear()
    monkeypatch.setattr(sys, "argv", [str(LAUNCH), *launched])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(LAUNCH), run_name="__main__")
    assert ended.value.code == 0
    # The launcher's program starts nothing: the service does, from what is staged.
    assert dataflow.jobs == []
    request = json.loads(dataflow.read(url))
    assert (request["name"], request["labels"]) == ("nightly", {"goog-dataflow-provided-template-type": "flex"})
    (pool,) = request["environment"]["workerPools"]
    assert (pool["numWorkers"], pool["autoscalingSettings"]["maxNumWorkers"]) == (1, 1)
    pipeline = dataflow.pipeline(request)
    assert {"Command", "RunCommand", "RunCommand/Run"} <= set(hints_of(pipeline))
    before = (alone / "store" / "LATEST").read_text()
    work(pipeline)
    assert (tmp_path / "work" / "store" / "LATEST").read_text() != before
    assert len(list_versions(LocalStore(str(tmp_path / "work" / "store")))) == 2


def _checked(dataflow: Dataflow, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Name -> status of what `ruiji doctor` has looked at."""
    config = ("--config", str(ROOT / "configs" / "dataflow.yaml"), "--workdir", str(folder / "work"))
    where = ("--set", f"store={folder / 'store'}", "--set", "beam.service_account_email=", "--json")
    main(["doctor", *config, *where, *dataflow.flags("doctor")])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    return {check["name"]: check["status"] for check in told["checks"]}


def test_doctor_asks_the_workers_by_a_small_job(
    dataflow: Dataflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.works = True
    dataflow.jobs.clear()
    statuses = _checked(dataflow, tmp_path, capsys)
    assert statuses["job"] == statuses["versions"] == statuses["shared files"] == "ok"
    assert "failed" not in statuses.values()
    assert [job.request["name"] for job in dataflow.jobs] == ["ruiji-digits-dataflow-doctor"]


def test_doctor_tells_where_workers_do_not_see_the_working_directory(
    dataflow: Dataflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.works = False  # a job that is done, and has left nothing where the command looks
    statuses = _checked(dataflow, tmp_path, capsys)
    assert statuses["shared files"] == "failed"


def test_workers_find_a_remote_version_in_the_working_directory(
    dataflow: Dataflow, run_alone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch maps the published file: no worker of another machine sees the cache of who runs the command."""
    config, alone = run_alone
    shutil.copytree(alone, tmp_path / "work", ignore=shutil.ignore_patterns("store"))
    store = GcsStore(f"gs://{BUCKET}/remote", patience_seconds=20)
    for name, data in published_bytes(alone / "store").items():
        store.write(name, data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    smaller = config.parent / "media" / "fewer.csv"
    smaller.write_text("\n".join((config.parent / "media" / "small.csv").read_text().splitlines()[:-3]) + "\n")
    dataflow.works = True
    dataflow.jobs.clear()
    where = ("--config", str(config), "--workdir", str(tmp_path / "work"), "--store", store.url)
    given = (*where, "--set", f"catalog.source={smaller}", *SHARED)
    assert main(["reindex", *given, *dataflow.flags("reindex")]) == 0
    assert len(list_versions(store)) == 2
    assert [job.error for job in dataflow.jobs] == ["", ""]  # compared, patched
    patching = {name: found for name, found in dataflow.jobs[1].hints().items() if name.startswith("PatchVersion")}
    assert {"PatchVersion/Patch", "PatchVersion/Finish", "PatchVersion/Records"} <= set(patching)
    assert all("min_ram_bytes" in found for found in patching.values())
    assert not (tmp_path / "cache").exists()
    for job in dataflow.jobs:
        assert str(tmp_path / "cache").encode() not in job.pipeline.SerializeToString()
