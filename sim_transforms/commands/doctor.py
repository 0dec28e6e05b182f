"""`ruiji doctor`: what would go wrong with a job on a runner, found before it is launched."""

import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sim_transforms.embedding.saved_model import batch_size
from sim_transforms.errors import NotFound, RuijiError
from sim_transforms.quality.estimate import ROW_BYTES, Inputs, worker_bytes
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.media import MediaShape
from sim_transforms.runs.flink import UNANSWERED, ask_flink
from sim_transforms.settings.stages import Settings
from sim_transforms.storage.open import open_store

Status = Literal["ok", "warning", "failed"]

# What Flink's and Dataflow's services take in one message is larger; above this they slow down.
MOST_ELEMENT_BYTES = 10_000_000
_WAIT_SECONDS = 5.0
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_GIB = 2**30


@dataclass(frozen=True)
class Check:
    """Attributes:
    name: what was looked at.
    status: `ok`, `warning` or `failed`.
    found: in words.
    advice: what to do; "" where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def _judged(name: str, found: str, advice: str, *, fails: bool) -> Check:
    """A check that is ok, or failed with something to do."""
    return Check(name, "failed", found, advice) if fails else Check(name, "ok", found)


def check_endpoint(name: str, address: str) -> Check:
    """Whether somebody takes connections at host:port."""
    host, port = _host_and_port(address)
    advice = f"start it, or correct --{name}"
    if not host or not port.isdigit():
        return Check(name, "failed", f"{address} is no host:port", advice)
    try:
        with socket.create_connection((host, int(port)), timeout=_WAIT_SECONDS):
            return Check(name, "ok", f"{address} answers")
    except OSError as error:
        return Check(name, "failed", f"{address}: {error}", advice)


def check_pool(address: str, cluster: str) -> Check:
    """Whether a pool of workers answers; `localhost` of a cluster elsewhere is each TaskManager's own machine.

    Args:
        address: `environment_config`, where TaskManagers ask for workers.
        cluster: host:port of who takes the job.
    """
    if _is_here(address) and not _is_here(cluster):
        found = f"{address} is beside each TaskManager, where only a job can ask"
        return Check("environment_config", "ok", found)
    return check_endpoint("environment_config", address)


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.removeprefix("http://").removeprefix("https://").rstrip("/").rpartition(":")
    return host, port


def _is_here(address: str) -> bool:
    """Also where none is given: Beam starts what it needs on this machine."""
    return _host_and_port(address)[0] in ("", "localhost", "127.0.0.1", "[::1]")


def check_flink(master: str, parallelism: int) -> Check:
    """Whether a Flink cluster answers and has a slot for each part of the work; 0 leaves the number to Flink."""
    try:
        told = ask_flink(master, "/overview")
        managers, slots = int(told["taskmanagers"]), int(told["slots-total"])
    except UNANSWERED as error:
        return Check("flink_master", "failed", f"{master}: {error}", "start the cluster, or correct --flink_master")
    found = f"{master}: Flink {told.get('flink-version', '?')}, {managers} TaskManagers, {slots} slots"
    advice = f"--parallelism={parallelism} needs as many slots: start TaskManagers, or lower it"
    return _judged("flink_master", found, advice, fails=slots < max(1, parallelism))


def check_dataflow(options: Mapping[str, Any]) -> list[Check]:
    """Whether what Dataflow cannot do without is given."""
    project, region = str(options.get("project") or ""), str(options.get("region") or "")
    checks = [
        _judged("project", project or "not given", "give --project: the project that pays", fails=not project),
        _judged(
            "region",
            region or "not given",
            "give --region: where workers start, a region like europe-west1 and no zone of it",
            fails=not _REGION.fullmatch(region),
        ),
    ]
    temporary = str(options.get("temp_location") or options.get("staging_location") or "")
    advice = "give --temp_location=gs://BUCKET/FOLDER"
    checks.append(_judged("temp_location", temporary or "not given", advice, fails=not temporary.startswith("gs://")))
    return [*checks, _image(str(options.get("sdk_container_image") or "")), *_machines(options)]


def _image(image: str) -> Check:
    """Whether the workers' image is named, and is the same tomorrow."""
    name = "sdk_container_image"
    if not image:
        advice = "build the image of this lock file and give --sdk_container_image: the stock image has no nmslib"
        return Check(name, "warning", "not given", advice)
    _, _, tag = image.rsplit("/", 1)[-1].partition(":")
    if tag in ("", "latest"):
        advice = "give it a tag of its own, or a digest: workers that start later would take another image"
        return Check(name, "warning", f"{image} may move", advice)
    return Check(name, "ok", image)


def _machines(options: Mapping[str, Any]) -> list[Check]:
    """What does not go together, and what stages are counted on."""
    checks = []
    if not options.get("number_of_worker_harness_threads"):
        advice = "give --number_of_worker_harness_threads=1: each thread of a process holds a shard of its own"
        checks.append(Check("threads", "warning", "not given", advice))
    if options.get("flexrs_goal"):
        advice = "leave --flexrs_goal out: Dataflow does not take what stages ask of machines together with it"
        checks.append(Check("flexrs_goal", "warning", str(options["flexrs_goal"]), advice))
    services = [str(each) for each in options.get("dataflow_service_options") or ()]
    doubled = options.get("embed_accelerator") and any(each.startswith("worker_accelerator") for each in services)
    if doubled:
        advice = "leave the service option out: it would give every machine one, and does not go with embed_accelerator"
        checks.append(Check("embed_accelerator", "failed", "worker_accelerator is given too", advice))
    return checks


def check_writable(folder: Path) -> Check:
    """Whether files can be written below the working directory."""
    probe = folder / f".doctor-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        return Check("workdir", "failed", f"{folder}: {error}", "give a folder that can be written: --workdir FOLDER")
    return Check("workdir", "ok", f"{folder} can be written")


def check_store(url: str) -> Check:
    """Whether objects can be written to the store, and removed."""
    name = f"doctor/{uuid.uuid4().hex}"
    try:
        store = open_store(url)
        store.write(name, b"probe")
        store.delete(name)
    except (RuijiError, OSError) as error:
        return Check("store", "failed", f"{url}: {error}", "create it, or give its writer the permission")
    return Check("store", "ok", f"{url} can be written")


def check_elements(media: MediaShape, dimension: int) -> Check:
    """Whether the largest element of the embedding job stays below what runners like."""
    batch = batch_size(media)
    size = batch * max(media.item_bytes, 4 * dimension)
    found = f"at most {size / 1e6:.1f} MB ({batch} items of {media.item_bytes:,} bytes)"
    if size > MOST_ELEMENT_BYTES:
        return Check("elements", "warning", found, "make media smaller (media.height and width, or media.seconds)")
    return Check("elements", "ok", found)


def check_workers(asked: Sequence[Any], own: Any, needed_bytes: int | None) -> list[Check]:
    """Versions, sight of the working directory and memory of the workers that answered.

    Args:
        asked: WorkerFacts of the workers, several of one process.
        own: WorkerFacts of the command.
        needed_bytes: that an index job will take in each process; null where that is not known yet.
    """
    processes = {(each.host, each.pid): each for each in asked}
    hosts = sorted({host for host, _ in processes})
    checks = [Check("workers", "ok", f"{len(processes)} processes on {len(hosts)} machines answered")]
    wanted = {"python": own.python, **dict(own.packages)}
    differ = {
        f"{name} {found or 'missing'} (here {wanted[name]})"
        for each in processes.values()
        for name, found in {"python": each.python, **dict(each.packages)}.items()
        if found != wanted[name]
    }
    advice = "install the same lock file on the workers, or give them the image that is built from it"
    found = "; ".join(sorted(differ)) or "the same as here"
    checks.append(_judged("versions", found, advice, fails=bool(differ)))
    blind = sorted({each.host for each in processes.values() if each.token != own.token})
    advice = "mount it under the same path on every machine"
    found = f"not seen on {', '.join(blind)}" if blind else "all workers see the working directory"
    checks.append(_judged("shared files", found, advice, fails=bool(blind)))
    return [*checks, *_memory(processes, needed_bytes)]


def expected_worker_bytes(settings: Settings) -> int | None:
    """Memory of a process of the index job; null before there are examples."""
    try:
        items = ExamplesManifest.load(Path(settings.workdir) / "examples").items
    except NotFound:
        return None
    inputs = Inputs(items=items, dimension=settings.train.embedding_size, row_bytes=ROW_BYTES, embeddings_bytes=0)
    return max(worker_bytes(inputs, settings.index).values())


def _memory(processes: Mapping[tuple[str, int], Any], needed_bytes: int | None) -> list[Check]:
    if needed_bytes is None:
        return [Check("memory", "warning", "not known before the examples are made", "run preprocess, then ask again")]
    checks = []
    for host in sorted({host for host, _ in processes}):
        mates = [each for (name, _), each in processes.items() if name == host]
        there = mates[0].memory_bytes
        found = f"{host}: {len(mates)} x {needed_bytes / _GIB:.2f} of {there / _GIB:.1f} GiB"
        advice = "lower index.shard_items, or start fewer workers a machine"
        checks.append(_judged("memory", found, advice, fails=needed_bytes * len(mates) > there))
    return checks


def doctor_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The answer of `--json`."""
    return {"ok": is_healthy(checks), "checks": [asdict(check) for check in checks]}


def doctor_text(checks: Sequence[Check]) -> str:
    """A line a check, and below it what to do."""
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8} {check.name:<20} {check.found}")
        if check.advice:
            lines.append(f"{'':<29} {check.advice}")
    return "\n".join(lines)


def is_healthy(checks: Sequence[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.status != "failed" for check in checks)
