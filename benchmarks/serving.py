"""`ruiji serve` under load, while versions are published: no request may fail, no answer be a mixture of two versions.

    .venv/bin/python -m benchmarks.serving --json work/benchmarks/serving.json
    .venv/bin/python -m benchmarks.serving --data tiny --seconds 6            # does it run

32 connections ask for `--seconds`: half of the requests are batches of 32 vectors, the others one vector, an item's
neighbours, and one vector under a condition that about a tenth of the items meet. Meanwhile three versions are
published and one whose index has a flipped bit, which must be refused. Every answer is compared with that of the
look-up alone for the version that the answer names. Before that, batches of 32 alone: queries a second of the bare
look-up in one process and of the service, asked by this process over the same 32 connections; on a machine of few cores
client and server share them. Latencies are seen by the client, waiting in its own queue included.
"""

import argparse
import asyncio
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.data import Array, add_data_arguments, make_data
from benchmarks.ruiji import PROGRAM, build_version
from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.records.codec import canonical_json
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, load_manifest, move_latest, publish, version_id

CONNECTIONS, BATCH, K = 32, 32, 10
# Bound of the service's rate for batches, as a share of the bare look-up's.
LEAST_SHARE = 0.5
_VERSIONS = 4
_WHERE = "item_id < '2'"


@dataclass(frozen=True)
class Ask:
    """A request that is sent again and again.

    Attributes:
        kind: batch, vector, neighbors or filtered.
        data: as it goes over the wire.
        vectors: [q, d] of its queries; of `neighbors` empty.
        item_id: of `neighbors`.
    """

    kind: str
    data: bytes
    vectors: Array
    item_id: str = ""


@dataclass
class Seen:
    """What the client has seen.

    Attributes:
        seconds: of each answer, by kind.
        answers: (request, version, digest of the answer) -> how often.
        failures: what was no answer.
        bodies: one of each that differ.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    answers: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    bodies: dict[tuple[int, str, str], bytes] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Answered."""
        return sum(len(times) for times in self.seconds.values())


def make_asks(queries: Array, address: str, mixed: bool) -> list[Ask]:
    """The requests, from queries of which none is an item."""
    found = []
    for number in range(64):
        start = number * BATCH % (len(queries) - BATCH)
        batch, one = queries[start : start + BATCH], queries[start : start + 1]
        found.append(Ask("batch", _posted(address, batch, None), batch))
        if not mixed:
            continue
        if number % 3 == 0:
            found.append(Ask("vector", _posted(address, one, None), one))
        elif number % 3 == 1:
            head = f"GET /neighbors/{number}?k={K} HTTP/1.1\r\nHost: {address}\r\n\r\n"
            found.append(Ask("neighbors", head.encode(), one[:0], str(number)))
        else:
            found.append(Ask("filtered", _posted(address, one, _WHERE), one))
    return found


def _posted(address: str, vectors: Array, where: str | None) -> bytes:
    body = json.dumps({"queries": [{"vector": v} for v in vectors.tolist()], "k": K, "where": where}).encode()
    head = f"POST /search HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _connection(number: int, address: tuple[str, int], asks: Sequence[Ask], ends: float, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection(*address)
    turn = number * 7
    while time.perf_counter() < ends:
        ask = asks[turn % len(asks)]
        began = time.perf_counter()
        writer.write(ask.data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        seen.seconds.setdefault(ask.kind, []).append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200"):
            seen.failures.append(f"{ask.kind}: {head[:30]!r} {body[:200]!r}")
        else:
            version = body[len(b'{"version":"') :][:16].decode()
            key = (turn % len(asks), version, hashlib.blake2b(body, digest_size=8).hexdigest())
            seen.answers[key] += 1
            seen.bodies.setdefault(key, body)
        turn += 1
    writer.close()


def load(address: str, asks: Sequence[Ask], seconds: float) -> tuple[Seen, float]:
    """Asks over all connections; what was seen, and for how long."""
    parts, seen = urlsplit(address), Seen()
    began = time.perf_counter()

    async def run() -> None:
        place = (str(parts.hostname), int(parts.port or 0))
        tasks = [_connection(n, place, asks, began + seconds, seen) for n in range(CONNECTIONS)]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                seen.failures.append(f"connection: {type(result).__name__}: {result}")

    asyncio.run(run())
    return seen, time.perf_counter() - began


def wrong_answers(seen: Seen, asks: Sequence[Ask], versions: dict[str, OpenVersion]) -> int:
    """Answers that are not those of the version that they name."""
    wrong = 0
    for (number, version, digest), times in seen.answers.items():
        expected = _expected(versions[version], asks[number]) if version in versions else None
        found = json.loads(seen.bodies[number, version, digest])
        matches = [[(m["item_id"], m["distance"]) for m in result["matches"]] for result in found["results"]]
        wrong += times if matches != expected else 0
    return wrong


def _expected(opened: OpenVersion, ask: Ask) -> list[list[tuple[str, float]]]:
    if ask.kind == "neighbors":
        found = [opened.search_item(ask.item_id, K)]
    else:
        found = opened.search(ask.vectors, K, where=_WHERE if ask.kind == "filtered" else None)
    return [[(match.item_id, match.distance) for match in matches] for matches in found]


def bare_rate(opened: OpenVersion, queries: Array, seconds: float) -> float:
    """Queries a second of the look-up alone, in batches."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        start = done % (len(queries) - BATCH)
        opened.search(queries[start : start + BATCH], K)
        done += BATCH
    return done / (time.perf_counter() - began)


@contextmanager
def serving(store: LocalStore) -> Any:
    """The service's address."""
    command = [*PROGRAM, "serve", "--store", store.url, "--port", "0", "--json"]
    config = Path(store.url).parent / "serve.yaml"
    tree = {"name": "serving", "store": store.url, "catalog": {"source": "none.csv"}, "serve": {"poll_seconds": 0.5}}
    config.write_text(json.dumps(tree))
    process = subprocess.Popen([*command, "--config", str(config)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def build_versions(given: argparse.Namespace, items: Array, folder: Path) -> list[Path]:
    """Folders of versions that hold different vectors under the same ids."""
    count = len(items) - 1000 * (_VERSIONS - 1) if len(items) > 10_000 else len(items) // 2
    step, folders = (len(items) - count) // (_VERSIONS - 1), []
    for number in range(_VERSIONS):
        place = folder / f"items-{number}.npy"
        np.save(place, items[number * step : number * step + count])
        notify(f"version {number + 1} of {_VERSIONS}: {count:,} items")
        folders.append(build_version(place, folder / f"build-{number}", {}, given.threads).version.folder)
    return folders


def publish_next(store: LocalStore, folder: Path, broken: bool) -> str:
    """Publishes a version after LATEST; a broken one as a store would hold it that has lost a bit."""
    made = LocalStore(str(folder.parent.parent))
    manifest = replace(load_manifest(made, folder.name), parent=latest(store))
    if not broken:
        return publish(store, folder, manifest)
    text = canonical_json(manifest)
    version = version_id(text)
    target = Path(store.url) / "versions" / version
    shutil.copytree(folder, target)
    index = target / "index.hnsw"
    index.chmod(0o644)
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1
    index.write_bytes(data)
    (target / "manifest.json").chmod(0o644)
    (target / "manifest.json").write_text(text)
    move_latest(store, version, latest(store))
    return version


def publisher(store: LocalStore, folders: Sequence[Path], seconds: float, told: list[tuple[str, str]]) -> None:
    """Publishes three versions and, second, a broken one, over the time of the load."""
    for number, kind in enumerate(("sound", "broken", "sound", "sound")):
        time.sleep(seconds / 5)
        folder = folders[min(number, 1) + (number > 1) * (number - 1)] if kind == "sound" else folders[0]
        told.append((kind, publish_next(store, folder, kind == "broken")))
        notify(f"{kind} version {told[-1][1]} is published")


def percentile(seconds: Sequence[float], share: float) -> float:
    """In milliseconds."""
    return float(np.quantile(seconds, share)) * 1000


def main(argv: Sequence[str]) -> None:
    given = _parser().parse_args(argv)
    data = make_data(given.data, given.items, given.queries, given.seed)
    with tempfile.TemporaryDirectory(prefix="ruiji-serving-") as place:
        folder = Path(place)
        folders = build_versions(given, data.items, folder)
        store = LocalStore(str(folder / "store"))
        publish_next(store, folders[0], broken=False)
        figures = _measured(given, store, folders, data.queries)
    machine = describe_machine()
    facts = (
        f"{data.name}: {figures['items']:,} items of dimension {data.items.shape[1]}; {CONNECTIONS} connections, k {K}"
    )
    section("Serving", machine_line(machine), "", facts, "")
    print(
        f"Batches of {BATCH}: the look-up alone {shown(figures['bare'])} queries a second, the service "
        f"{shown(figures['served'])}, {figures['share']:.2f} of it.\n"
    )
    rows = [
        [kind, shown(len(times)), shown(percentile(times, 0.5), 1), shown(percentile(times, 0.99), 1)]
        for kind, times in sorted(figures["seconds"].items())
    ]
    print(markdown_table(["request", "answered", "p50 ms", "p99 ms"], rows))
    verdicts = {
        "no failed request": not figures["failures"],
        "no answer of a mixture, or of the broken version": figures["wrong"] == 0,
        "all sound versions were taken up": figures["taken_up"] == _VERSIONS,
        "the broken version was refused": figures["refused"] == 1,
        f"at least {LEAST_SHARE} of the bare rate": figures["share"] >= LEAST_SHARE,
    }
    for name, holds in verdicts.items():
        print(f"- {'yes' if holds else 'NO '}: {name}")
    for failure in figures["failures"][:5]:
        print(f"  {failure}")
    kept = {name: value for name, value in figures.items() if name != "seconds"}
    latencies = {kind: [percentile(t, share) for share in (0.5, 0.9, 0.99)] for kind, t in figures["seconds"].items()}
    write_json(given.json, {"machine": machine, **kept, "milliseconds": latencies, "verdicts": verdicts})


def _measured(given: argparse.Namespace, store: LocalStore, folders: Sequence[Path], queries: Array) -> dict[str, Any]:
    with serving(store) as address:
        opened = open_version(store.url)
        steady = given.seconds / 4
        bare = bare_rate(opened, queries, steady)
        seen, took = load(address, make_asks(queries, urlsplit(address).netloc, mixed=False), steady)
        served = seen.requests * BATCH / took
        notify(f"bare {bare:,.0f}, served {served:,.0f} queries a second")
        told: list[tuple[str, str]] = []
        thread = threading.Thread(target=publisher, args=(store, folders, given.seconds, told))
        thread.start()
        asks = make_asks(queries, urlsplit(address).netloc, mixed=True)
        mixed, _ = load(address, asks, given.seconds)
        thread.join()
        state = _metrics(address)
    versions = {opened.version: opened, **{v: open_version(store.url, v) for kind, v in told if kind == "sound"}}
    return {
        "items": opened.manifest.items,
        "bare": bare,
        "served": served,
        "share": served / bare,
        "seconds": mixed.seconds,
        "failures": [*seen.failures, *mixed.failures],
        "wrong": wrong_answers(mixed, asks, versions),
        "taken_up": int(state["ruiji_versions_taken_up_total"]),
        "refused": int(state["ruiji_versions_refused"]),
        "requests": mixed.requests,
    }


def _metrics(address: str) -> dict[str, float]:
    import urllib.request

    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, 2_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the mixed load")
    parser.add_argument("--threads", type=int, default=2, help="worker processes of the builds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
