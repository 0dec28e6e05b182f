"""Checks of a runner before a job is launched.

ruiji doctor --config configs/digits.yaml
ruiji doctor --config configs/flink.yaml --runner=FlinkRunner --flink_master=localhost:8081
"""

import uuid
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipelines._job import named
from pipelines._main import Main
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
from sim_transforms.errors import NotReady, UsageError
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.media.decode import media_shape
from sim_transforms.options import check_reach, runner_of
from sim_transforms.probe_workers import ProbeWorkers, WorkerFacts, worker_facts
from sim_transforms.runs.stages import scratch_folder
from sim_transforms.settings.stages import Settings

# Elements of the small job: enough that every worker of a small cluster gets one.
_NUMBERS = 32


def doctor(main: Main) -> None:
    """`ruiji doctor`: exit 1 where a check failed."""
    settings = main.settings()
    options = main.options(settings, anywhere=True)
    checks = [
        *_reach(settings, options),
        check_writable(Path(settings.workdir)),
        check_store(settings.store),
        check_elements(media_shape(settings.media), settings.train.embedding_size),
        *_endpoints(options),
    ]
    if is_healthy(checks):
        checks += _workers(settings, options, main.arguments.seconds)
    main.answer(doctor_json(checks), doctor_text(checks))
    failed = [check.name for check in checks if check.status == "failed"]
    if failed:
        raise NotReady(f"not ready: {', '.join(failed)}; the lines above say what to do")


def _reach(settings: Settings, options: PipelineOptions) -> list[Check]:
    runner = runner_of(options)
    checks = [Check("runner", "ok", runner)]
    if runner in ("DirectRunner", "SwitchingDirectRunner"):
        advice = "leave --runner out: Beam's FnApiRunner on all cores, which fetches nothing"
        found = f"{runner} becomes Prism where it can, which Beam fetches from GitHub (or --prism_location)"
        checks = [Check("runner", "warning", found, advice)]
    try:
        check_reach(options, bool(settings.beam.get("shared_filesystem")), settings.workdir)
    except UsageError as error:
        checks.append(
            Check("shared_filesystem", "failed", str(error), "set beam.shared_filesystem=true where it holds")
        )
    return checks


def _endpoints(options: PipelineOptions) -> list[Check]:
    """What the options name and what must answer."""
    chosen: dict[str, Any] = options.get_all_options()
    runner, checks = runner_of(options), []
    master = str(chosen.get("flink_master") or "[auto]")
    if runner in ("FlinkRunner", "PortableRunner") and not master.startswith("["):
        checks.append(check_flink(master, int(chosen.get("parallelism") or 0)))
    service = str(chosen.get("job_endpoint") or "embed")
    if runner == "PortableRunner" and service != "embed":
        checks.append(check_endpoint("job_endpoint", service))
    if chosen.get("environment_type") == "EXTERNAL":
        cluster = service if runner == "PortableRunner" else master
        checks.append(check_pool(str(chosen.get("environment_config")), cluster))
    if runner == "DataflowRunner":
        checks += check_dataflow(chosen)
    return checks


def _workers(settings: Settings, options: PipelineOptions, seconds: float) -> list[Check]:
    """Runs the small job, for at most so long."""
    with scratch_folder(Path(settings.workdir).absolute(), "doctor") as scratch:
        token, rows = scratch / "token", scratch / "facts.rows"
        token.write_text(uuid.uuid4().hex)
        own = worker_facts(str(token))
        advice = "look into the runner's own log; a worker of another Python leaves jobs waiting for ever"
        try:
            pipeline = beam.Pipeline(options=options)
            facts = pipeline | "Numbers" >> beam.Create(range(_NUMBERS)) | "Probe" >> ProbeWorkers(str(token))
            facts | "HandBack" >> HandBack(str(rows))
            with named("doctor", pipeline.options):
                result = pipeline.run()
            result.wait_until_finish(duration=int(seconds * 1000))
            if result.state != PipelineState.DONE:
                result.cancel()
                return [Check("job", "failed", f"a small job did not end in {seconds:g} s: {result.state}", advice)]
        except Exception as error:
            return [Check("job", "failed", f"a small job failed: {type(error).__name__}: {error}", advice)]
        asked: list[WorkerFacts] = read_rows(str(rows)) if rows.is_file() else []
    if not asked:
        advice = "mount the working directory under the same path on every machine"
        return [Check("shared files", "failed", "the workers' answers are not where the command looks", advice)]
    return [Check("job", "ok", "a small job ran"), *check_workers(asked, own, expected_worker_bytes(settings))]
