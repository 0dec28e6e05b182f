"""Checks before a launch: each says what it found, and what to do where something is wrong."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sim_transforms.commands.doctor import (
    Check,
    check_dataflow,
    check_elements,
    check_endpoint,
    check_flink,
    check_pool,
    check_store,
    check_workers,
    check_writable,
    doctor_json,
    doctor_text,
    expected_worker_bytes,
    is_healthy,
)
from sim_transforms.media.decode import media_shape
from sim_transforms.probe_workers import WorkerFacts, worker_facts
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import ImageSettings

OVERVIEW = {"taskmanagers": 2, "slots-total": 4, "flink-version": "1.19.3"}


@contextmanager
def _answering(body: bytes) -> Iterator[str]:
    """A server that gives one answer to all; its host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        return f"localhost:{unused.getsockname()[1]}"


def _facts(**changes: object) -> WorkerFacts:
    plain = worker_facts("nowhere")._replace(host="a", pid=1, memory_bytes=8 * 2**30, token="seen")
    return plain._replace(**changes)  # type: ignore[arg-type]


def test_an_endpoint_that_answers_and_those_that_do_not() -> None:
    with _answering(b"") as address:
        assert check_endpoint("job_endpoint", address).status == "ok"
    for address in (_closed(), "nowhere", "host:port", ""):
        check = check_endpoint("job_endpoint", address)
        assert (check.status, "job_endpoint" in check.advice) == ("failed", True)


@pytest.mark.parametrize("cluster", ["", "[auto]", "embed", "localhost:8081", "http://127.0.0.1:8081/", "[::1]:8099"])
def test_a_pool_of_this_machine_must_answer(cluster: str) -> None:
    assert check_pool(_closed(), cluster).status == "failed"
    with _answering(b"") as address:
        assert check_pool(address, cluster) == Check("environment_config", "ok", f"{address} answers")


@pytest.mark.parametrize("cluster", ["ruiji-job-server:8099", "http://flink.example.com:8081"])
def test_a_pool_beside_each_task_manager_is_not_sought_here(cluster: str) -> None:
    check = check_pool(_closed(), cluster)
    assert (check.status, "TaskManager" in check.found) == ("ok", True)
    assert check_pool("127.0.0.2:1", cluster).status == "failed"


def test_a_flink_cluster_needs_a_slot_for_each_part() -> None:
    with _answering(json.dumps(OVERVIEW).encode()) as master:
        assert check_flink(master, 4) == Check("flink_master", "ok", f"{master}: Flink 1.19.3, 2 TaskManagers, 4 slots")
        assert check_flink(f"http://{master}/", 0).status == "ok"
        assert "--parallelism=5" in check_flink(master, 5).advice
    with _answering(json.dumps({**OVERVIEW, "slots-total": 0}).encode()) as empty:
        assert check_flink(empty, 0).status == "failed"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"taskmanagers": null, "slots-total": 1}'])
def test_what_is_no_flink_cluster_fails(body: bytes) -> None:
    with _answering(body) as master:
        assert check_flink(master, 1).status == "failed"
    assert check_flink(_closed(), 1).status == "failed"


DATAFLOW = {
    "project": "p",
    "region": "europe-west1",
    "temp_location": "gs://b/t",
    "sdk_container_image": "image:1",
    "number_of_worker_harness_threads": 1,
}


def test_dataflow_needs_a_project_a_region_and_a_bucket() -> None:
    whole = DATAFLOW
    assert all(check.status == "ok" for check in check_dataflow(whole))
    assert len(check_dataflow(whole)) == 4
    failed = {check.name for check in check_dataflow({"temp_location": "/tmp"}) if check.status == "failed"}
    assert failed == {"project", "region", "temp_location"}
    (image,) = [check for check in check_dataflow({**whole, "sdk_container_image": None}) if check.status == "warning"]
    assert image.name == "sdk_container_image"


def _unwell(**options: object) -> list[tuple[str, str]]:
    """Names and statuses of what is not ok."""
    return [(each.name, each.status) for each in check_dataflow({**DATAFLOW, **options}) if each.status != "ok"]


@pytest.mark.parametrize("region", ["europe-west1-b", "Europe", "eu", "europe west1"])
def test_dataflow_region_that_is_none_fails(region: str) -> None:
    assert _unwell(region=region) == [("region", "failed")]


@pytest.mark.parametrize("image", ["r-docker.pkg.dev/p/ruiji/ruiji", "host:5000/ruiji", "ruiji:latest"])
def test_dataflow_image_that_may_move_is_warned_of(image: str) -> None:
    assert _unwell(sdk_container_image=image) == [("sdk_container_image", "warning")]


@pytest.mark.parametrize("image", ["host:5000/ruiji:1", f"r-docker.pkg.dev/p/ruiji/ruiji@sha256:{'0' * 64}"])
def test_dataflow_image_of_a_tag_or_digest_is_well(image: str) -> None:
    assert _unwell(sdk_container_image=image) == []


def test_dataflow_options_that_do_not_go_together_are_told() -> None:
    accelerator = {"embed_accelerator": "type:nvidia-tesla-t4;count:1"}
    assert _unwell(**accelerator) == []
    doubled = {**accelerator, "dataflow_service_options": ["worker_accelerator=type:nvidia-tesla-t4;count:1"]}
    assert _unwell(**doubled) == [("embed_accelerator", "failed")]
    assert _unwell(flexrs_goal="COST_OPTIMIZED") == [("flexrs_goal", "warning")]
    assert _unwell(number_of_worker_harness_threads=None) == [("threads", "warning")]


def test_folders_and_stores_that_can_be_written_and_those_that_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_writable(tmp_path / "work").status == "ok"
    assert check_writable(tmp_path / "file" / "work").status == "failed"
    assert list((tmp_path / "work").iterdir()) == []
    assert check_store(str(tmp_path / "store")).status == "ok"
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert check_store(str(tmp_path / "file" / "store")).status == "failed"


def test_elements_above_what_runners_like_are_told() -> None:
    small, large = (media_shape(ImageSettings(height=side, width=side)) for side in (64, 4096))
    assert check_elements(small, 64).status == "ok"
    assert check_elements(large, 64).status == "warning"


def test_workers_alike_are_healthy_and_counted_once() -> None:
    checks = check_workers([_facts(), _facts(), _facts(pid=2), _facts(host="b")], _facts(), 2**30)
    assert is_healthy(checks)
    assert checks[0].found == "3 processes on 2 machines answered"
    assert [check.found for check in checks if check.name == "memory"] == [
        "a: 2 x 1.00 of 8.0 GiB",
        "b: 1 x 1.00 of 8.0 GiB",
    ]


def test_workers_of_other_versions_or_without_the_folder_or_with_little_memory_fail() -> None:
    packages = tuple((name, "" if name == "nmslib" else version) for name, version in _facts().packages)
    found = {
        check.name: check
        for check in check_workers([_facts(python="3.10.1", packages=packages, token="")], _facts(), 9 * 2**30)
        if check.status == "failed"
    }
    assert set(found) == {"versions", "shared files", "memory"}
    assert "python 3.10.1" in found["versions"].found
    assert "nmslib missing" in found["versions"].found
    assert found["shared files"].found == "not seen on a"


def test_memory_is_not_known_before_there_are_examples(tmp_path: Path) -> None:
    settings = load_settings(None, (), str(tmp_path))
    assert expected_worker_bytes(settings) is None
    (memory,) = [check for check in check_workers([_facts()], _facts(), None) if check.name == "memory"]
    assert memory.status == "warning"


def test_answers_name_what_failed_and_what_to_do() -> None:
    checks = [Check("workdir", "ok", "fine"), Check("store", "failed", "gone", "create it")]
    assert doctor_text(checks).splitlines()[1:] == [
        "failed   store                gone",
        "                              create it",
    ]
    assert doctor_json(checks)["ok"] is False
    assert doctor_json([replace(checks[1], status="warning")])["ok"] is True
