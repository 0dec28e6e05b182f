"""What Dataflow is asked for, from the options and the size of the work; and that nobody else is asked for anything."""

from pathlib import Path

import pytest

from sim_transforms.errors import ConfigError, UsageError
from sim_transforms.options import cores_of_machine, pipeline_options, threads_of_worker, workers_of
from sim_transforms.quality.estimate import BASE_BYTES, ROW_BYTES, Inputs, embed_bytes, worker_bytes
from sim_transforms.resource_hints import GIB, NO_HINTS, SYSTEM_BYTES, Asking, asking
from sim_transforms.settings.stages import IndexSettings

DATAFLOW = ("--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t")
T4 = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
MACHINES = [
    (None, 2),
    ("n1-standard-1", 1),
    ("n2-standard-8", 8),
    ("n2d-highcpu-224", 224),
    ("custom-4-16384", 4),
    ("n2-custom-6-8192-ext", 6),
    ("c3-standard-8-lssd", 8),
    ("e2-medium", 2),
]
AT_ONCE = [
    ((), 2),
    (("--machine_type=n2-standard-8",), 8),
    (("--machine_type=n2-standard-8", "--number_of_worker_harness_threads=2"), 16),
    (("--experiments=no_use_multiple_sdk_containers",), 12),
    (("--experiments=no_use_multiple_sdk_containers", "--number_of_worker_harness_threads=3"), 3),
]


@pytest.mark.parametrize(
    "flags", [(), ("--runner=FlinkRunner",), ("--runner=FnApiRunner",), ("--runner=PrismRunner",)], ids=str
)
def test_other_runners_are_asked_for_nothing(flags: tuple[str, ...], tmp_path: Path) -> None:
    asked = asking(pipeline_options([*flags, f"--embed_accelerator={T4}"], {}, []))
    assert asked.index(10**7, 128, IndexSettings()) == NO_HINTS
    assert asked.embedding(tmp_path, 2**20) == {}


@pytest.mark.parametrize(("name", "cores"), MACHINES, ids=str)
def test_cores_of_machine_is_what_its_name_says(name: str | None, cores: int) -> None:
    assert cores_of_machine(name) == cores


@pytest.mark.parametrize(("flags", "at_once"), AT_ONCE, ids=str)
def test_elements_at_once_follows_processes_and_threads(flags: tuple[str, ...], at_once: int) -> None:
    assert asking(pipeline_options([*DATAFLOW, *flags], {}, [])).at_once == at_once


def test_index_asks_for_what_the_estimate_says_of_each_process() -> None:
    settings = IndexSettings(shard_items=25_000)
    held = worker_bytes(Inputs(items=10**6, dimension=512, row_bytes=ROW_BYTES, embeddings_bytes=0), settings)
    shard = max(held[stage] for stage in ("assign", "build", "link", "merge", "measure"))
    asked = Asking(at_once=8).index(10**6, 512, settings)
    ram = asked.shards["min_ram"]
    assert ram % GIB == 0
    assert 0 <= ram - (SYSTEM_BYTES + 8 * shard) < GIB
    # The upper layers of a million items are lighter than eight shards: all stages share a pool.
    assert asked.shards == asked.partition == asked.upper


def test_upper_layers_of_a_large_catalog_ask_for_a_machine_of_their_own() -> None:
    settings = IndexSettings(shard_items=25_000)
    held = worker_bytes(Inputs(items=10**8, dimension=512, row_bytes=ROW_BYTES, embeddings_bytes=0), settings)
    asked = Asking(at_once=4).index(10**8, 512, settings)
    assert asked.upper["min_ram"] >= SYSTEM_BYTES + held["upper"] + 3 * BASE_BYTES
    assert asked.upper["min_ram"] > asked.shards["min_ram"]
    assert asked.shards == Asking(at_once=4).index(10**7, 512, settings).shards


def test_embedding_asks_for_the_model_in_each_process(tmp_path: Path) -> None:
    variables = tmp_path / "saved_model" / "variables"
    variables.mkdir(parents=True)
    (variables / "variables.data").write_bytes(bytes(3 * 2**20))
    ram = Asking(at_once=4).embedding(tmp_path, 2**23)["min_ram"]
    assert 0 <= ram - (SYSTEM_BYTES + 4 * embed_bytes(3 * 2**20, 2**23)) < GIB
    assert embed_bytes(2**30, 0) - embed_bytes(0, 0) == 2**31


def test_accelerator_is_ours_and_stands_beside_beams_options(tmp_path: Path) -> None:
    options = pipeline_options(DATAFLOW, {"embed_accelerator": T4}, [])
    assert asking(options).embedding(tmp_path, 0)["accelerator"] == T4
    assert "accelerator" not in asking(pipeline_options(DATAFLOW, {}, [])).embedding(tmp_path, 0)


@pytest.mark.parametrize("given", ["nvidia-tesla-t4", "type:t4", "type:t4;count:one", "count:1;type:t4", ""])
def test_accelerator_of_another_form_is_refused_at_once(given: str) -> None:
    with pytest.raises(UsageError, match=r"beam\.embed_accelerator: found .*expected .*type:nvidia-tesla-t4;count:1"):
        pipeline_options(DATAFLOW, {"embed_accelerator": given}, [])


def test_accelerator_misspelt_is_told_with_its_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'embed_accelerator'"):
        pipeline_options([], {"embed_acelerator": T4}, [])


def test_tensorflow_has_the_cores_of_its_process_not_of_the_launching_machine() -> None:
    machine = ("--machine_type=n2-standard-16",)
    assert threads_of_worker(pipeline_options([*DATAFLOW, *machine], {}, [])) == 1
    alone = (*machine, "--experiments=no_use_multiple_sdk_containers")
    assert threads_of_worker(pipeline_options([*DATAFLOW, *alone], {}, [])) == 16


def test_workers_are_the_processes_of_all_machines() -> None:
    machines = ("--max_num_workers=5", "--machine_type=n2-standard-8")
    assert workers_of(pipeline_options([*DATAFLOW, *machines], {}, [])).count == 40
    alone = (*machines, "--experiments=no_use_multiple_sdk_containers")
    assert workers_of(pipeline_options([*DATAFLOW, *alone], {}, [])).count == 5
    assert workers_of(pipeline_options(["--runner=FlinkRunner", "--parallelism=6"], {}, [])).count == 6


def test_false_in_the_configuration_is_beams_flag_that_says_no() -> None:
    assert pipeline_options([], {"use_public_ips": False}, []).get_all_options()["use_public_ips"] is False
    assert pipeline_options([], {"use_public_ips": True}, []).get_all_options()["use_public_ips"] is True
    assert pipeline_options([], {"streaming": False}, []).get_all_options()["streaming"] is False
