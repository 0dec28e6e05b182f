"""A catalog and its media in a bucket, read through Beam's own file system, beside the same on this machine's disk."""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from google.cloud.storage import Client

from pipelines.cli import main
from sim_transforms.beam_files import BeamFiles
from sim_transforms.errors import CatalogError, MediaError
from sim_transforms.media.catalog import plan_catalog, read_part
from sim_transforms.media.fetch_ahead import FetchAhead
from tests.contracts.gcs_server import BUCKET, Answer, Gate, Request
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Bucket"]:
    # Beam looks for Google's credentials before it asks without any.
    monkeypatch.setattr("apache_beam.internal.gcp.auth.get_service_credentials", lambda options: None)
    # A pipeline of another test has left its options there.
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    with Client() as client:
        yield Bucket(client, tmp_path.name)


class Bucket:
    """A folder of the bucket that is this test's own."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._bucket, self._prefix = client.bucket(BUCKET), prefix
        self.url = f"gs://{BUCKET}/{prefix}"

    def write(self, name: str, data: bytes) -> str:
        self._bucket.blob(f"{self._prefix}/{name}").upload_from_string(data)
        return f"{self.url}/{name}"

    def delete(self, name: str) -> None:
        self._bucket.blob(f"{self._prefix}/{name}").delete()


@pytest.fixture
def digits(tmp_path: Path, bucket: Bucket) -> Path:
    """A catalog of 60 pictures, one of which is missing and one no picture: on the disk, and in the bucket."""
    source = digits_catalog(tmp_path / "media", 60)
    rows = list(csv.DictReader(io.StringIO(source.read_text())))
    local = tmp_path / "local"
    for row in rows:
        path = local / row["label"] / row["uri"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source.parent / row["uri"]).read_bytes())
        row["uri"] = f"{row['label']}/{row['uri']}"
    (local / rows[7]["uri"]).unlink()
    (local / rows[9]["uri"]).write_bytes(b"no picture")
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (local / "catalog.csv").write_text("\n".join(lines) + "\n")
    for path in local.rglob("*.*"):
        bucket.write(path.relative_to(local).as_posix(), path.read_bytes())
    return local


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a command on a catalog; gives its JSON."""

    def call(command: str, source: str, workdir: str, *more: str) -> dict[str, Any]:
        config, chosen = configuration(tmp_path, tmp_path), f"catalog.source={source}"
        where = ("--config", str(config), "--set", chosen, "--workdir", str(tmp_path / workdir))
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            assert main([command, *where, "--json", *more]) == 0
        return json.loads(shown.getvalue().splitlines()[-1])

    return call


def _records(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("examples-*.tfrecord"))}


def _reasons(folder: Path) -> dict[str, str]:
    rows = pq.read_table(folder / "rejects.parquet").to_pylist()
    return {row["uri"]: row["reason"] for row in rows}


def _downloads(gate: Gate) -> list[str]:
    return [path for _, path in gate.seen if path.startswith("/download/") and path.endswith(".png")]


@pytest.mark.parametrize(("name", "rejected"), [("catalog.csv", ["missing", "not_an_image"]), ("", ["not_an_image"])])
def test_bucket_gives_the_bytes_of_the_disk_and_is_read_once(
    name: str,
    rejected: list[str],
    digits: Path,
    bucket: Bucket,
    gate: Gate,
    run: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    local = run("preprocess", str(digits / name), "here", *ONE_PROCESS)
    remote = run("preprocess", f"{bucket.url}/{name}", "there", *ONE_PROCESS)
    assert {**remote, "seconds": None} == {**local, "seconds": None}
    examples = tmp_path / "there" / "examples"
    assert _records(examples) == _records(tmp_path / "here" / "examples")
    here = _reasons(tmp_path / "here" / "examples")
    assert _reasons(examples) == {uri.replace(str(digits), bucket.url): why for uri, why in here.items()}
    assert sorted(here.values()) == rejected
    assert len(_downloads(gate)) == 59
    run("preprocess", f"{bucket.url}/{name}", "there", *ONE_PROCESS)
    assert len(_downloads(gate)) == 59


def test_bucket_is_published_and_brought_up_to_date_and_asked(
    digits: Path, bucket: Bucket, gate: Gate, run: Callable[..., dict[str, Any]]
) -> None:
    source, pictures = f"{bucket.url}/catalog.csv", sorted(digits.glob("*/*.png"))
    names = [path.relative_to(digits).as_posix() for path in pictures if path.read_bytes() != b"no picture"]
    assert run("run", source, "work", *ONE_PROCESS)["accepted"] == 58
    assert run("reindex", source, "work", *ONE_PROCESS)["files_read"] == 58
    gate.seen.clear()
    again = run("reindex", source, "work", *ONE_PROCESS)
    # What was rejected is tried again, and nothing else.
    assert (again["version"], again["files_read"], len(_downloads(gate))) == (None, 0, 1)
    bucket.write(names[0], (digits / names[9]).read_bytes())
    bucket.delete(names[1])
    changed = run("reindex", source, "work", *ONE_PROCESS)
    assert (changed["changed"], changed["rejected"], changed["inferences"]) == (1, 3, 1)
    found = run("search", source, "work", "--media", f"{bucket.url}/{names[9]}", "--k", "2")["matches"]
    assert {match["item_id"] for match in found} == {Path(names[0]).stem, Path(names[9]).stem}
    assert run("why", source, "work", "digit-0000")["status"] == "published"


def test_missing_catalogs_and_archives_fail_as_a_catalog(bucket: Bucket) -> None:
    bucket.write("packed/a.tar", b"x")
    for name, found in (
        ("gone.csv", "there is no such file"),
        ("nothing", "there is nothing below"),
        ("packed", "copy them"),
        ("packed/a.tar", "copy them"),
    ):
        with pytest.raises(CatalogError, match=found):
            plan_catalog(f"{bucket.url}/{name}", False, BeamFiles())
    with pytest.raises(CatalogError, match="ftp:// is not read"):
        plan_catalog("ftp://host/c.csv", False, BeamFiles())


def test_tables_of_each_kind_are_read(bucket: Bucket, tmp_path: Path) -> None:
    rows = [{"item_id": f"{n}", "uri": f"{n}.png", "size": n} for n in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet", row_group_size=2)
    bucket.write("c.parquet", (tmp_path / "c.parquet").read_bytes())
    bucket.write("c.jsonl", "\n".join(map(json.dumps, rows)).encode())
    for name in ("c.parquet", "c.jsonl"):
        plan = plan_catalog(f"{bucket.url}/{name}", False, BeamFiles())
        found = [entry for part in plan.parts for entry in read_part(plan, part, 0, BeamFiles())]
        assert [(e.item_id, e.uri) for e in found] == [(f"{n}", f"{bucket.url}/{n}.png") for n in range(5)]
        assert (plan.rows, plan.metadata_columns) == (5, {"size": "int64"})


def test_folders_with_odd_names_are_listed_exactly(bucket: Bucket) -> None:
    for name in ("a[1]*/x/1.png", "a[1]*/x/.hidden", "a[1]*/top.png", "a[1]*/x/", "ab1]c/x/2.png", "a[1]*b/x/3.png"):
        bucket.write(name, b"x")
    listed = BeamFiles().list(f"{bucket.url}/a[1]*")
    assert sorted(uri.rpartition("/")[2] for uri in listed) == [".hidden", "1.png", "top.png"]
    (status,) = {listed[uri] for uri in listed if uri.endswith("1.png")}
    assert BeamFiles().status(f"{bucket.url}/a[1]*/x/1.png") == status
    with pytest.raises(MediaError, match="more than 2 files"):
        BeamFiles().list(f"{bucket.url}/a[1]*", 2)


def test_refused_large_and_missing_objects_have_their_reasons(bucket: Bucket, gate: Gate, tmp_path: Path) -> None:
    names = [bucket.write(f"{n}.png", b"x" * 100) for n in range(3)]

    def before(request: Request) -> Request | Answer | None:
        return Answer(403, [("Content-Type", "application/json")], b"{}") if "1.png" in request.path else None

    gate.before = before
    reasons = []
    for uri, most in ((names[0], 99), (names[1], 100), (f"{bucket.url}/gone.png", 100), ("gs://bucket", 100)):
        with pytest.raises(MediaError) as found:
            BeamFiles().fetch(uri, tmp_path / "copy", most)
        reasons.append(found.value.reason)
    assert reasons == ["too_large", "forbidden", "missing", "bad_uri"]
    with FetchAhead([names[2], names[1]], BeamFiles(), 20.0) as paths:
        found = list(paths.results(Path(path).is_file() for path in paths))
    assert found[0] is True
    assert isinstance(found[1], MediaError)
