"""GcsStore where the network or the store fails: answers lost, bytes changed, servers killed, doors closed."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, NotFound, StoreError, UsageError
from sim_transforms.storage.gcs import GcsStore
from sim_transforms.storage.open import open_store
from tests.contracts.gcs_server import BUCKET, Answer, Gate, Request

LARGE = np.random.default_rng(0).bytes(9 * 2**20 + 77)


def _lose_first(gate: Gate, method: str, text: str) -> None:
    """Lets the first such request arrive, and loses its answer."""
    lost: list[Request] = []

    def after(request: Request, answer: Answer) -> Answer | None:
        if not lost and request.method == method and text in request.path:
            lost.append(request)
            return None
        return answer

    gate.after = after


def _refuse(gate: Gate, status: int, text: str = "", times: int = 10**6) -> None:
    """Answers the first requests whose path holds `text` with an error."""
    refused: list[Request] = []
    body = json.dumps({"error": {"code": status, "message": "said by the test"}}).encode()

    def before(request: Request) -> Answer | None:
        if text not in request.path or len(refused) >= times:
            return None
        refused.append(request)
        return Answer(status, [("Content-Type", "application/json")], body)

    gate.before = before


def _paths(gate: Gate, method: str, text: str) -> list[str]:
    return [path for found, path in gate.seen if found == method and text in path]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(LARGE)
    return tmp_path / "large"


@pytest.mark.parametrize(
    "url", ["gs://", "gs:///a", "gs://-a/b", "gs://bucket/../a", "gs://bucket/a//b", "gs://bucket/.a"]
)
def test_url_without_a_bucket_or_with_an_odd_prefix_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        GcsStore(url)


def test_open_store_of_another_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="gs://BUCKET/PREFIX"):
        open_store("s3://bucket/a")


@pytest.mark.parametrize(("url", "name"), [("gs://bucket", "r/a"), ("gs://bucket/r/", "a"), ("gs://bucket/r", "a")])
def test_prefix_stands_before_every_name(url: str, name: str, gate: Gate) -> None:
    open_store(url).write(name, b"x")
    assert GcsStore("gs://bucket/r").read("a") == b"x"
    assert [found.name for found in GcsStore("gs://bucket/r").list("")] == ["a"]
    assert open_store(url).url == url.rstrip("/")


def test_name_longer_than_the_store_takes_is_refused(gcs: GcsStore) -> None:
    with pytest.raises(UsageError, match="1,024 bytes"):
        gcs.write("ü" * 510, b"x")


def test_local_store_opens_without_google_client() -> None:
    program = (
        "import sys; from sim_transforms.storage.open import open_store; open_store('a'); "
        "from sim_transforms.lookup import open; assert 'google.cloud.storage' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_large_upload_travels_in_chunks_and_small_one_at_once(gcs: GcsStore, gate: Gate, large: Path) -> None:
    gcs.upload(large, "a")
    assert len(_paths(gate, "PUT", "/upload/")) == 10
    gate.reset()
    gcs.upload(large, "b", 5, 2**20)
    assert (len(_paths(gate, "PUT", "")), len(_paths(gate, "POST", "/upload/"))) == (0, 1)


def test_compose_of_70_takes_four_calls(gcs: GcsStore, gate: Gate) -> None:
    gcs.write("a", b"x")
    gate.reset()
    gcs.compose(["a"] * 70, "whole")
    assert len(_paths(gate, "POST", "/compose")) == 4
    assert len(_paths(gate, "DELETE", "")) == 3


@pytest.mark.parametrize(
    "case",
    [
        ("POST", "uploadType=multipart", lambda store, large: store.write("a", b"new"), b"new"),
        ("POST", "uploadType=multipart", lambda store, large: store.upload(large, "a", 0, 9), LARGE[:9]),
        ("POST", "uploadType=resumable", lambda store, large: store.upload(large, "a"), LARGE),
        ("PUT", "upload_id", lambda store, large: store.upload(large, "a"), LARGE),
        ("POST", "/compose", lambda store, large: store.compose(["part", "part"], "a"), b"partpart"),
    ],
    ids=["write", "small", "begin", "chunk", "compose"],
)
@pytest.mark.parametrize("exists", [True, False])
def test_write_whose_answer_is_lost_is_sent_again(
    exists: bool, case: tuple[str, str, Callable[..., None], bytes], gcs: GcsStore, gate: Gate, large: Path
) -> None:
    method, text, call, content = case
    gcs.write("part", b"part")
    if exists:
        gcs.write("a", b"old")
    _lose_first(gate, method, text)
    call(gcs, large)
    gate.reset()
    assert gcs.read("a") == content


@pytest.mark.parametrize("exists", [True, False])
def test_compare_and_swap_whose_answer_is_lost_has_won(exists: bool, gcs: GcsStore, gate: Gate) -> None:
    if exists:
        gcs.write("LATEST", b"old")
    found = gcs.info("LATEST")
    gate.reset()
    _lose_first(gate, "POST", "uploadType")
    assert gcs.compare_and_swap("LATEST", b"new", found.generation if found else None)
    assert len(_paths(gate, "POST", "/upload/")) == 2
    assert gcs.read("LATEST") == b"new"


def test_compare_and_swap_of_the_same_content_as_anothers_has_lost(gcs: GcsStore) -> None:
    assert gcs.compare_and_swap("LATEST", b"same", None)
    assert not gcs.compare_and_swap("LATEST", b"same", None)


def test_delete_whose_answer_is_lost_has_deleted(gcs: GcsStore, gate: Gate) -> None:
    gcs.write("a", b"x")
    _lose_first(gate, "DELETE", "/o/")
    gcs.delete("a")
    assert gcs.info("a") is None


def test_write_beside_another_writer_is_the_last(gcs: GcsStore, gate: Gate) -> None:
    other = GcsStore(gcs.url)
    gcs.write("a", b"old")
    overtaken: list[int] = []

    def before(request: Request) -> None:
        if request.method == "POST" and not overtaken:
            overtaken.append(1)
            other.write("a", b"other")

    gate.before = before
    gcs.write("a", b"mine")
    assert gcs.read("a") == b"mine"


def test_write_that_is_always_overtaken_says_so(gcs: GcsStore, gate: Gate) -> None:
    _refuse(gate, 412, "uploadType")
    with pytest.raises(StoreError, match=r"others changed a 5 times.*run again"):
        gcs.write("a", b"x")


@pytest.mark.parametrize("status", [404, 410])
def test_upload_that_the_store_forgets_starts_again(status: int, gcs: GcsStore, gate: Gate, large: Path) -> None:
    _refuse(gate, status, "upload_id", times=2)
    gcs.upload(large, "a")
    assert gcs.read("a") == LARGE
    _refuse(gate, status, "upload_id")
    with pytest.raises(StoreError, match=r"forgot the upload of b.*run again"):
        gcs.upload(large, "b")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_store_is_asked_again(status: int, gcs: GcsStore, gate: Gate) -> None:
    gcs.write("a", b"x")
    _refuse(gate, status, times=1)
    assert gcs.read("a") == b"x"


@pytest.mark.parametrize(
    "call",
    [
        lambda store, path: store.read("a"),
        lambda store, path: store.write("a", b"x"),
        lambda store, path: store.upload(path, "a"),
        lambda store, path: store.download("a", path.with_name("g")),
        lambda store, path: store.info("a"),
        lambda store, path: store.list(""),
        lambda store, path: store.delete("a"),
        lambda store, path: store.compare_and_swap("a", b"x", None),
        lambda store, path: store.compose(["a"], "b"),
    ],
    ids=["read", "write", "upload", "download", "info", "list", "delete", "swap", "compose"],
)
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the Google credentials were refused.*gcloud auth"),
        (403, "no permission.*Storage Object User"),
        (400, "said by the test"),
        (409, "said by the test"),
    ],
)
def test_refusals_say_what_to_do(
    status: int, message: str, call: Callable[..., None], gcs: GcsStore, gate: Gate, large: Path
) -> None:
    gcs.write("a", b"x")
    _refuse(gate, status)
    with pytest.raises(StoreError, match=message):
        call(gcs, large)
    assert not large.with_name("g").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda store, path: store.read("LATEST"),
        lambda store, path: store.write("a", b"x"),
        lambda store, path: store.upload(path, "a"),
        lambda store, path: store.download("a", path.with_name("g")),
        lambda store, path: store.list(""),
        lambda store, path: store.delete("a"),
        lambda store, path: store.compare_and_swap("a", b"x", None),
        lambda store, path: store.compose(["a"], "b"),
    ],
    ids=["read", "write", "upload", "download", "list", "delete", "swap", "compose"],
)
def test_bucket_that_is_missing_is_named(call: Callable[..., None], gate: Gate, large: Path) -> None:
    with pytest.raises(StoreError, match=r"no such bucket; make it .*gs://elsewhere"):
        call(GcsStore("gs://elsewhere/a"), large)


def test_credentials_that_are_missing_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(StoreError, match=r"no Google credentials.*gcloud auth application-default login"):
        GcsStore("gs://bucket/a").read("LATEST")


def test_store_that_does_not_answer_is_named_after_the_patience(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = GcsStore("gs://bucket/a", patience_seconds=0.5)
    (tmp_path / "f").write_bytes(LARGE)
    for call in (lambda: store.read("LATEST"), lambda: store.upload(tmp_path / "f", "a"), lambda: store.list("")):
        with pytest.raises(StoreError, match=r"does not answer.*run again"):
            call()


def test_download_that_is_cut_off_goes_on_from_there(gcs: GcsStore, gate: Gate, large: Path) -> None:
    gcs.upload(large, "a")
    gate.reset()
    asked: list[str] = []

    def after(request: Request, answer: Answer) -> Answer:
        if "alt=media" not in request.path:
            return answer
        asked.append(request.headers.get("range", ""))
        return replace(answer, cut=2**20 if len(asked) <= 2 else None)

    gate.after = after
    gcs.download("a", large.with_name("b"))
    assert large.with_name("b").read_bytes() == LARGE
    assert asked == ["", f"bytes={2**20}-", f"bytes={2 * 2**20}-"]


def _flipped(body: bytes) -> bytes:
    return body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]


def test_download_that_was_changed_on_the_way_is_refused(gcs: GcsStore, gate: Gate, tmp_path: Path) -> None:
    gcs.write("a", b"content")
    gate.after = lambda request, answer: (
        replace(answer, body=_flipped(answer.body)) if "alt=media" in request.path else answer
    )
    with pytest.raises(DamagedArtefact, match="cannot read a"):
        gcs.read("a")
    with pytest.raises(DamagedArtefact, match="cannot download a"):
        gcs.download("a", tmp_path / "f")
    assert list(tmp_path.glob("*f")) == []


def test_download_without_a_checksum_is_refused(gcs: GcsStore, gate: Gate, tmp_path: Path) -> None:
    gcs.write("a", b"content")
    gate.after = lambda request, answer: replace(
        answer, headers=[(name, value) for name, value in answer.headers if name.lower() != "x-goog-hash"]
    )
    for call in (lambda: gcs.download("a", tmp_path / "f"), lambda: gcs.read("a")):
        with pytest.raises(DamagedArtefact, match="without a checksum"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_upload_of_chunks_that_were_changed_on_the_way_is_refused_and_not_kept(
    gcs: GcsStore, gate: Gate, large: Path
) -> None:
    gate.before = lambda request: replace(request, body=_flipped(request.body)) if request.is_last_chunk else None
    with pytest.raises(DamagedArtefact, match="cannot write a"):
        gcs.upload(large, "a")
    assert gcs.info("a") is None


def test_upload_that_was_changed_on_the_way_is_refused_by_the_store(gcs: GcsStore, gate: Gate) -> None:
    """fake-gcs-server takes it; what the real store says is put in its mouth."""
    message = 'Provided CRC32C \\"AAAAAA==\\" doesn\'t match calculated CRC32C \\"yZRlqg==\\".'
    gate.before = lambda request: (
        Answer(400, [("Content-Type", "application/json")], b'{"error": {"message": "%s"}}' % message.encode())
        if "uploadType" in request.path
        else None
    )
    with pytest.raises(DamagedArtefact, match="differ from those sent"):
        gcs.write("a", b"content")


@pytest.mark.parametrize("path", ["/compose", "whole/compose"])
def test_compose_that_fails_deletes_what_it_made(path: str, gcs: GcsStore, gate: Gate) -> None:
    gcs.write("a", b"x")
    gate.before = lambda request: (
        Answer(403, [], b"") if path in request.path and len(_paths(gate, "POST", "/compose")) > 2 else None
    )
    with pytest.raises(StoreError, match="no permission"):
        gcs.compose(["a"] * 70, "whole")
    gate.reset()
    assert [found.name for found in gcs.list("")] == ["a"]


def test_compose_that_came_out_wrong_is_deleted_and_refused(gcs: GcsStore, gate: Gate) -> None:
    gcs.write("a", b"x")
    gcs.write("b", b"y")
    swapped = b'"sourceObjects": [{"name": "%s"}]' % f"{gcs.url.removeprefix(f'gs://{BUCKET}/')}/b".encode()
    gate.before = lambda request: (
        replace(request, body=b"{%s}" % swapped) if "/compose" in request.path else None
    )  # fmt: skip
    with pytest.raises(DamagedArtefact, match="whole came out as"):
        gcs.compose(["a", "a"], "whole")
    assert gcs.info("whole") is None


def _at_chunk(gate: Gate, number: int, action: Callable[[], None]) -> None:
    """Acts before the store sees a chunk, once."""
    chunks: list[Request] = []

    def before(request: Request) -> None:
        if request.method == "PUT":
            chunks.append(request)
            if len(chunks) == number:
                action()

    gate.before = before


@pytest.mark.parametrize("chunk", [1, 4, 10])
def test_upload_through_a_restart_of_the_server_arrives(chunk: int, gcs: GcsStore, gate: Gate, large: Path) -> None:
    _at_chunk(gate, chunk, gate.restart_server)
    gcs.upload(large, "a")
    assert gcs.read("a") == LARGE
    assert [found.name for found in gcs.list("")] == ["a"]


@pytest.mark.parametrize("chunk", [1, 4, 10])
def test_upload_to_a_server_that_stays_down_fails_and_shows_nothing(
    chunk: int, gcs: GcsStore, gate: Gate, large: Path
) -> None:
    gcs.write("a", b"old")
    _at_chunk(gate, chunk, gate.kill_server)
    impatient = GcsStore(gcs.url, patience_seconds=1, chunk_bytes=2**20)
    try:
        with pytest.raises(StoreError, match=r"does not answer.*run again"):
            impatient.upload(large, "a")
        with pytest.raises(StoreError, match="does not answer"):
            impatient.upload(large, "b")
    finally:
        gate.server.start()
    assert [(found.name, found.size_bytes) for found in gcs.list("")] == [("a", 3)]
    gcs.upload(large, "a")
    assert gcs.read("a") == LARGE


def test_missing_object_in_a_bucket_that_is_there_is_not_found(gcs: GcsStore) -> None:
    with pytest.raises(NotFound):
        gcs.read("a")
