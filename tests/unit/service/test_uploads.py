"""Uploads are searched by what the model makes of them; what is no form, or no media, is told so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sim_transforms.errors import MediaError, ModelMismatch
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.service.uploads import Uploads
from sim_transforms.settings.serving import ServeSettings
from tests.unit.service.services import Service, small_service
from tests.unit.storage.published import published_store, some_vectors


class _Numbers:
    """Stands in for a model: an upload is the number of an item."""

    def embed(self, opened: OpenVersion, data: bytes) -> tuple[np.ndarray[Any, Any], list[float]]:
        if data == b"other model":
            raise ModelMismatch("another model")
        if not data.isdigit():
            raise MediaError("unsupported", "this is no number")
        return some_vectors()[int(data)][None], [0.0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store, _ = published_store(tmp_path_factory.mktemp("served"), some_vectors())
    with small_service(store, ServeSettings(max_upload_mib=1, max_k=10), uploads=cast(Uploads, _Numbers())) as found:
        yield found


def test_upload_finds_what_it_shows(service: Service) -> None:
    found = service.client.post("/search", files={"media": b"7"}, data={"k": "3", "where": "colour = 'red'"}).json()
    matches = found["results"][0]["matches"]
    assert [len(found["results"]), len(matches), matches[0]["item_id"]] == [1, 3, "item-7"]
    assert (
        len(service.client.post("/search", files={"media": b"7"}, data={"k": 9}).json()["results"][0]["matches"]) == 9
    )


@pytest.mark.parametrize(
    ("files", "data", "status", "message"),
    [
        ({"media": b"cat"}, {}, 422, "unsupported: this is no number"),
        ({"media": b"other model"}, {}, 409, "another model"),
        ({"media": b"7"}, {"k": "0"}, 422, "k: Input should be greater"),
        ({"media": b"7"}, {"k": "x" * 100}, 422, "k: Input should be a valid integer"),
        ({"media": b"7"}, {"k": "11"}, 400, "at most 10 neighbours"),
        ({"media": b"7"}, {"version": "../../etc"}, 422, "version: "),
        ({"media": b"7"}, {"version": "0" * 16}, 404, "0000000000000000"),
        ({"media": b"7"}, {"where": "size = 1"}, 400, "no column 'size'"),
        ({"media": b"7"}, {"path": "/etc/passwd"}, 400, "the form holds 'path'"),
        ({"picture": b"7"}, {}, 400, "the form holds 'picture'"),
        ({"k": b"7"}, {}, 400, "a form is expected that holds `media`"),
        ({"media": b"7" * (2**20 + 1)}, {}, 413, "at most 1 MiB"),
        ([("media", b"7"), ("media", b"8")], {}, 400, "Too many files"),
        ({"media": b"7"}, dict.fromkeys("abcde", "1"), 400, "Too many fields"),
    ],
)
def test_wrong_uploads_are_told_what_is_wrong(
    service: Service, files: Any, data: dict[str, str], status: int, message: str
) -> None:
    found = service.client.post("/search", files=files, data=data)
    assert found.status_code == status, found.text
    assert message in found.json()["error"]["message"]


# Starlette leaves the file of a form that is cut to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"--b\r\n", "multipart/form-data"),
        (b"nothing", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="media"; filename="a"\r\n\r\ncut',
            "multipart/form-data; boundary=b",
        ),
        (b"--b\r\n" + b"X: 1\r\n" * 20_000, "multipart/form-data; boundary=b"),
    ],
)
def test_forms_that_are_none_are_refused(service: Service, content: bytes, kind: str) -> None:
    found = service.client.post("/search", content=content, headers={"content-type": kind})
    assert found.status_code == 400, found.text


def test_names_of_uploaded_files_are_never_used(service: Service, tmp_path: Path) -> None:
    target = tmp_path / "written"
    found = service.client.post("/search", files={"media": (f"../../../../{target}", b"7")})
    assert found.status_code == 200
    assert not target.exists()
