"""A store in a bucket of Google Cloud Storage, `gs://bucket/prefix`; the one file that touches google.cloud.storage.

Every write names the generation that it replaces, so that a request may be sent again when its answer was lost, and
carries a token of its own in the object's metadata: where the store says that the generation is another one by now, the
token tells whether it was our own first attempt that arrived, or somebody else.

STORAGE_EMULATOR_HOST is honoured by Google's client: it is then asked without credentials.
"""

import io
import re
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import requests
from google.api_core import exceptions as refused
from google.auth import exceptions as unknown_user
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from sim_transforms.errors import DamagedArtefact, NotFound, RuijiError, StoreError, UsageError
from sim_transforms.storage.checksums import EMPTY_CRC32C, combine_crc32c, crc32c_of
from sim_transforms.storage.files import FileRange, replace_file
from sim_transforms.storage.gcs_errors import clear_errors
from sim_transforms.storage.object_store import ObjectInfo, name_parts
from sim_transforms.storage.side_by_side import discard, side_by_side

# Files above it (and above 8 MiB) travel in chunks, each of which is sent again by itself; one is held in memory.
CHUNK_BYTES = 16 * 2**20
# A limit of the store.
COMPOSE_SOURCES = 32
# How often a write starts again, because others wrote the same object or the store forgot the upload.
_ATTEMPTS = 5
_FORGOTTEN = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_TOKEN = "ruiji-write"
_BUCKET = re.compile("[a-z0-9][a-z0-9._-]*[a-z0-9]")
# Of what browsers are shown straight from the bucket.
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class GcsStore:
    """Objects of a bucket below a prefix; safe to use from several threads.

    Args:
        url: `gs://bucket` or `gs://bucket/prefix`.
        patience_seconds: how long each request is sent again while the store does not answer or is busy.
        chunk_bytes: of an upload; a multiple of 256 KiB.

    Raises:
        UsageError: the URL names no bucket, or its prefix could be no object's.
    """

    def __init__(self, url: str, patience_seconds: float = 120.0, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Asks the store nothing yet."""
        bucket, _, prefix = url.removeprefix("gs://").rstrip("/").partition("/")
        if not url.startswith("gs://") or not _BUCKET.fullmatch(bucket):
            raise UsageError(f"store: found {url!r}; gs://BUCKET or gs://BUCKET/PREFIX is expected")
        self._prefix = "/".join(name_parts(prefix)) + "/" if prefix else ""
        self.url = f"gs://{bucket}/{self._prefix}".rstrip("/")
        self._bucket_name = bucket
        self._chunk_bytes = chunk_bytes
        self._retry = DEFAULT_RETRY.with_timeout(patience_seconds)
        self._clear = partial(clear_errors, self.url, DataCorruption)

    def read(self, name: str) -> bytes:
        """Content of an object, its checksum compared; raises NotFound."""
        content = io.BytesIO()
        self._fetch(name, content, f"read {name}")
        return content.getvalue()

    def write(self, name: str, data: bytes) -> None:
        """Writes over the generation that is there; the checksum travels along."""

        def send(blob: Blob, generation: int) -> None:
            kind = blob.content_type or "text/plain"
            blob.upload_from_string(data, kind, checksum="crc32c", if_generation_match=generation, retry=self._retry)

        self._replace(name, send)

    def upload(self, path: Path, name: str, offset: int = 0, size_bytes: int | None = None) -> None:
        """Sends a file or a range of it, larger ones in chunks; the checksum goes ahead and comes back."""
        crc32c = crc32c_of(path, offset, size_bytes)

        def send(blob: Blob, generation: int) -> None:
            with FileRange(path, offset, size_bytes) as file:
                blob.upload_from_file(
                    file,
                    size=file.size_bytes,
                    checksum="crc32c",
                    crc32c_checksum_value=crc32c,
                    if_generation_match=generation,
                    retry=self._retry,
                )

        self._replace(name, send)

    def download(self, name: str, path: Path) -> None:
        """Fetches an object, whole or not at all; what the network cuts off is fetched from there on."""
        with replace_file(path) as temporary, temporary.open("wb") as file:
            self._fetch(name, file, f"download {name}")

    def info(self, name: str) -> ObjectInfo | None:
        """Size, creation time and generation of an object, or null."""
        blob = self._found(name)
        return _info(name, blob) if blob is not None else None

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Objects whose names start with `prefix`, by name; asks once a thousand."""
        if "/" in prefix:
            name_parts(prefix.rpartition("/")[0])
        with self._clear(f"list {prefix}"):
            found = list(self._client.list_blobs(self._bucket, prefix=self._prefix + prefix, retry=self._retry))
        named = ((blob.name.removeprefix(self._prefix), blob) for blob in found)
        return sorted((_info(name, blob) for name, blob in named if _is_ours(name)), key=lambda info: info.name)

    def delete(self, name: str) -> None:
        """Removes an object; raises NotFound."""
        blob = self._existing(name)
        for _ in range(_ATTEMPTS):
            with self._clear(f"delete {name}"), suppress(refused.NotFound, refused.PreconditionFailed):
                return blob.delete(if_generation_match=blob.generation, retry=self._retry)
            # Gone by our own first attempt, whose answer was lost, or another object by now.
            blob = self._found(name)
            if blob is None:
                return None
        raise self._restless(name)

    def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Compares and writes in the store itself, by generation."""

        def send(blob: Blob, generation: int) -> None:
            blob.upload_from_string(data, checksum="crc32c", if_generation_match=generation, retry=self._retry)

        return self._sent(name, send, int(expected) if expected is not None else 0)

    def compose(self, names: Sequence[str], target: str, crc32c: str | None = None) -> None:
        """Joins at the store, at most 32 objects a call, more by a tree whose inner objects are deleted at the end."""
        if not names:
            raise UsageError(f"{self.url}: {target} cannot be put together from no objects")
        sources = side_by_side(self._existing, names)
        expected = _joined_crc32c(sources)
        if crc32c not in (None, expected):
            raise DamagedArtefact(
                f"{self.url}: the parts of {target} together have the CRC32C {expected}; {crc32c} is expected"
            )
        inner: list[str] = []
        try:
            while len(sources) > COMPOSE_SOURCES:
                groups = [sources[i : i + COMPOSE_SOURCES] for i in range(0, len(sources), COMPOSE_SOURCES)]
                level = [f"{target}.join-{len(inner) + number:05d}" for number in range(len(groups))]
                inner += level
                sources = side_by_side(lambda pair: self._join(*pair), zip(groups, level, strict=True))
            self._join(sources, target)
        except BaseException:
            # The first error is the one to show; what stays is written over by a retry, or cleaned up with its version.
            with suppress(RuijiError):
                discard(self, inner)
            raise
        discard(self, inner)

    def local_path(self, name: str) -> Path | None:
        """Null: nothing of it lies on this machine."""
        return None

    @cached_property
    def _client(self) -> Client:
        try:
            client = Client()
        except unknown_user.DefaultCredentialsError as error:
            raise StoreError(
                f"{self.url}: no Google credentials were found; run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account"
            ) from error
        # It would ask for the bucket beside our requests, for traces that nobody takes, and need a permission for it.
        client._bucket_metadata_cache = None
        client._http.hooks["response"].append(_read_refusal)
        weakref.finalize(self, client.close)
        return client

    @cached_property
    def _bucket(self) -> Any:
        return self._client.bucket(self._bucket_name)

    def _blob(self, name: str, chunk_bytes: int | None = None) -> Blob:
        name_parts(name)
        full = self._prefix + name
        if len(full.encode()) > 1024:
            raise UsageError(f"object name {full!r}: longer than 1,024 bytes with its prefix")
        return Blob(full, self._bucket, chunk_size=chunk_bytes)

    def _found(self, name: str) -> Any:
        """The object as it stands in the store, or null."""
        blob = self._blob(name)
        with self._clear(f"look at {name}"):
            try:
                blob.reload(retry=self._retry)
            except refused.NotFound:
                return None
        return blob

    def _fetch(self, name: str, into: BinaryIO, action: str) -> None:
        blob = self._blob(name)
        with self._clear(action):
            try:
                blob.download_to_file(into, checksum="crc32c", retry=self._retry)
            except refused.NotFound as error:
                raise self._absent(name) from error
        if blob.crc32c is None:
            raise DamagedArtefact(f"{self.url}: {name} came without a checksum; it was not taken")

    def _existing(self, name: str) -> Any:
        blob = self._found(name)
        if blob is None:
            raise self._absent(name)
        return blob

    def _absent(self, name: str) -> NotFound:
        """The error for a missing object; raises StoreError where it is the bucket that is missing."""
        with self._clear(f"look for {name}"):
            list(self._client.list_blobs(self._bucket, max_results=1, retry=self._retry))
        return NotFound(f"{self.url} holds no {name}")

    def _restless(self, name: str) -> StoreError:
        return StoreError(f"{self.url}: others changed {name} {_ATTEMPTS} times while it was written; run again")

    def _replace(self, name: str, send: Callable[[Blob, int], None]) -> None:
        for _ in range(_ATTEMPTS):
            found = self._found(name)
            if self._sent(name, send, found.generation if found is not None else 0):
                return
        raise self._restless(name)

    def _sent(self, name: str, send: Callable[[Blob, int], None], generation: int) -> bool:
        """Whether the object was written over `generation` (0: none); starts again when the store forgot an upload."""
        token = uuid.uuid4().hex
        with self._clear(f"write {name}"):
            for _ in range(_ATTEMPTS):
                blob = self._blob(name, self._chunk_bytes)
                blob.metadata = {_TOKEN: token}
                kind = _TYPES.get(PurePosixPath(name).suffix)
                if kind is not None:
                    blob.content_type = f"{kind}; charset=utf-8"
                    # Public objects would else be kept for an hour by whoever passes them on, forgotten items too.
                    blob.cache_control = "no-cache"
                try:
                    send(blob, generation)
                    return True
                except refused.PreconditionFailed:
                    found = self._found(name)
                    return found is not None and (found.metadata or {}).get(_TOKEN) == token
                except refused.GoogleAPICallError as error:
                    # An upload that the store forgot, an object to compose that is gone, or an unknown bucket.
                    if error.code not in _FORGOTTEN:
                        raise
        self._absent(name)  # raises where it was the bucket
        raise StoreError(
            f"{self.url}: the store forgot the upload of {name}, or what it is made of, {_ATTEMPTS} times; run again"
        )

    def _join(self, sources: Sequence[Any], target: str) -> Any:
        """Composes at most 32 objects; gives the object that was made."""

        def send(blob: Blob, generation: int) -> None:
            blob.compose(
                sources,
                if_generation_match=generation,
                if_source_generation_match=[source.generation for source in sources],
                retry=self._retry,
            )

        self._replace(target, send)
        made = self._existing(target)
        expected = (sum(source.size for source in sources), _joined_crc32c(sources))
        if (made.size, made.crc32c) != expected:
            made.delete(if_generation_match=made.generation, retry=self._retry)
            found = f"{made.size} bytes with the CRC32C {made.crc32c}"
            raise DamagedArtefact(f"{self.url}: {target} came out as {found}; {expected} is expected: run again")
        return made


def _read_refusal(response: requests.Response, **options: Any) -> None:
    """Takes the text of a refused download, which the client leaves, so that its connection can be used again."""
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        response.content  # noqa: B018


def _joined_crc32c(sources: Sequence[Any]) -> str:
    whole = EMPTY_CRC32C
    for source in sources:
        whole = combine_crc32c(whole, source.crc32c, source.size)
    return whole


def _info(name: str, blob: Any) -> ObjectInfo:
    return ObjectInfo(name, blob.size, blob.time_created.timestamp(), str(blob.generation))


def _is_ours(name: str) -> bool:
    """Whether it could have been written here; a folder's placeholder could not."""
    try:
        name_parts(name)
    except UsageError:
        return False
    return True
