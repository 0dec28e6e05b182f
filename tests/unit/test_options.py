"""Options of a job: whose workers would look for files where they cannot be."""

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions

from sim_transforms.errors import UsageError
from sim_transforms.options import check_reach, name_jobs, pipeline_options

ELSEWHERE = [
    ["--runner=DataflowRunner", "--project=p", "--region=r"],
    ["--runner=FlinkRunner", "--flink_master=flink:8081"],
    ["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=EXTERNAL"],
    ["--runner=FlinkRunner", "--environment_type=DOCKER"],
    ["--runner=PortableRunner", "--job_endpoint=localhost:8099", "--environment_type=EXTERNAL"],
    ["--runner=SparkRunner", "--spark_master_url=spark://host:7077"],
]
HERE = [
    [],
    ["--runner=FnApiRunner"],
    ["--runner=DirectRunner"],
    ["--runner=PrismRunner"],
    ["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
    ["--runner=FlinkRunner"],
    ["--runner=FlinkRunner", "--flink_master=[local]"],
    ["--runner=PortableRunner", "--job_endpoint=localhost:8099", "--environment_type=LOOPBACK"],
]


@pytest.mark.parametrize("flags", ELSEWHERE, ids=" ".join)
def test_workers_of_other_machines_need_a_shared_file_system(flags: list[str]) -> None:
    options = pipeline_options(flags, {}, [])
    with pytest.raises(UsageError, match=r"Runner: .*work/pets.*beam\.shared_filesystem=true"):
        check_reach(options, False, "work/pets")
    check_reach(options, True, "work/pets")


@pytest.mark.parametrize("flags", HERE, ids=" ".join)
def test_workers_of_this_machine_need_none(flags: list[str]) -> None:
    check_reach(pipeline_options(flags, {}, []), False, "work/pets")


@pytest.mark.parametrize(
    ("flags", "catalog", "name"),
    [
        ([], "Pets & Birds_2", "ruiji-pets-birds-2"),
        ([], "類似", "ruiji"),
        ([], "x" * 80, f"ruiji-{'x' * 44}"),
        (["--job_name=mine"], "pets", "mine"),
    ],
)
def test_jobs_are_named_by_their_catalog(flags: list[str], catalog: str, name: str) -> None:
    options = pipeline_options(flags, {}, [])
    name_jobs(options, catalog)
    assert options.view_as(GoogleCloudOptions).job_name == name
