"""`ruiji serve` as a process: it takes up versions, ends in order, and slow or hostile clients do it no harm."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from sim_transforms.storage.leases import READERS, fresh_holds
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, publish
from tests.unit.storage.published import published_store, some_vectors, version_folder

pytestmark = pytest.mark.slow

_SECONDS = 60.0
_POST = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Running:
    """A service that is running.

    Attributes:
        process: of it.
        url: that it told.
    """

    process: subprocess.Popen[str]
    url: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """A service on a free port."""
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--port", "0", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Running(process, json.loads(process.stdout.readline())["url"])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return published_store(tmp_path_factory.mktemp("served"), some_vectors())[0]


@pytest.fixture(scope="module")
def config(store: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "serve.yaml"
    path.write_text(
        f"name: served\nworkdir: {path.parent}/work\nstore: {store.url}\ncatalog: {{source: nowhere.csv}}\n"
        "serve: {poll_seconds: 0.1, timeout_seconds: 1.0, max_upload_mib: 1}\n"
    )
    return str(path)


@pytest.fixture(scope="module")
def service(config: str) -> Iterator[Running]:
    with running("--config", config) as found:
        yield found


def _sent(service: Running, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What comes back, until the other side closes."""
    with socket.create_connection(service.address, timeout=_SECONDS) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        found = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65_536):
                found += data
    return found


def test_version_that_is_published_is_taken_up(service: Running, store: LocalStore, tmp_path: Path) -> None:
    before = service.get("/healthz")[1]["version"]
    new = publish(store, tmp_path / "new", version_folder(tmp_path / "new", some_vectors(1), latest(store)))
    assert new != before
    ends = time.monotonic() + _SECONDS
    while service.get("/healthz")[1]["version"] != new:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert service.get("/neighbors/item-1?k=3")[1]["version"] == new


@pytest.mark.parametrize(
    "head",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /items/%ff%fe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused_and_the_service_goes_on(service: Running, head: bytes) -> None:
    answer = _sent(service, head)
    assert answer.split(b" ")[1][:1] in (b"4",), answer[:200]
    assert service.get("/healthz")[0] == 200


def test_heads_without_end_are_cut(service: Running) -> None:
    answer = _sent(service, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X: " + b"a" * 200_000 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431") or answer == b""
    assert service.get("/healthz")[0] == 200


def test_body_that_does_not_come_is_not_waited_for(service: Running) -> None:
    assert _sent(service, _POST + b"Content-Length: 100\r\n\r\n", b"{").startswith(b"HTTP/1.1 408")


def test_body_that_is_declared_too_large_is_refused_before_it_comes(service: Running) -> None:
    assert _sent(service, _POST + b"Content-Length: 99999999\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_many_silent_and_hostile_clients_leave_memory_flat(service: Running) -> None:
    process = psutil.Process(service.process.pid)
    service.get("/healthz")
    before = process.memory_info().rss
    body = b"a" * 2**20
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(service.address)) for _ in range(200)]
        for connection in silent:
            connection.sendall(b"GET /items HTTP/1.1\r\nHost: local")
        for _ in range(20):
            _sent(
                service,
                _POST + b"Transfer-Encoding: chunked\r\n\r\n",
                *(b"100000\r\n" + body + b"\r\n" for _ in range(4)),
            )
        assert service.get("/neighbors/item-1")[0] == 200
    assert process.memory_info().rss - before < 60 * 2**20


def test_term_ends_it_with_0_and_releases_its_lease(config: str, store: LocalStore) -> None:
    held = sum(fresh_holds(store, READERS).values())
    with running("--config", config) as found:
        assert found.get("/healthz")[0] == 200
        assert sum(fresh_holds(store, READERS).values()) == held + 1
        found.process.terminate()
        assert found.process.wait(_SECONDS) == 0
    assert sum(fresh_holds(store, READERS).values()) == held


def test_address_that_is_taken_is_said(service: Running, store: LocalStore) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--store", store.url, "--port", str(service.address[1])]
    found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert found.returncode == 2
    assert "cannot be listened at" in found.stderr


def test_bad_flags_and_empty_stores_are_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pipelines.cli import main

    assert main(["serve", "--store", str(tmp_path)]) == 1
    assert "nothing is published" in capfd.readouterr().err
    assert main(["serve", "--store", str(tmp_path), "--port", "70000"]) == 2
    assert "--port: from 0 to 65535" in capfd.readouterr().err
