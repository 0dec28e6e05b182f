"""A job that runs elsewhere is watched, and Ctrl-C asks what is to become of it."""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineRunner, PipelineState

from pipelines import _job, cli
from pipelines._job import Job, cause_of
from sim_transforms.counters import count
from sim_transforms.errors import Detached, JobFailed
from sim_transforms.records.ledger import LedgerEntry
from sim_transforms.runs.flink import FlinkStages, flink_stages
from tests.pipelines.small_catalogs import ONE_PROCESS

LIMIT = 20.0


class Elsewhere(PipelineRunner):
    """A runner whose job goes on until it is ended or cancelled; `metrics` says something new each time.

    Args:
        fails: how it ends.
        seen: called when the command looks at the job for the first time, in its own thread.
    """

    def __init__(self, fails: bool = False, seen: Callable[[], object] = lambda: None) -> None:
        self.ended, self.cancelled = threading.Event(), False
        self.fails, self.asked, self.seen = fails, 0, seen
        self.name, self.answers = "", True
        self._job_id = "job-7"

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> "Elsewhere":
        self.name = options.view_as(GoogleCloudOptions).job_name
        return self

    @property
    def state(self) -> str:
        if not (self.ended.is_set() and self.answers):
            return PipelineState.RUNNING
        return PipelineState.FAILED if self.fails else PipelineState.DONE

    def wait_until_finish(self) -> str:
        assert self.ended.wait(LIMIT)
        if self.cancelled or self.fails:
            raise RuntimeError("the job is broken")
        return self.state

    def ends_soon(self) -> None:
        threading.Timer(0.5, self.ended.set).start()

    def cancel(self) -> None:
        self.cancelled = True
        self.ended.set()

    def metrics(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            self.seen()
        counters = [
            SimpleNamespace(
                key=SimpleNamespace(metric=SimpleNamespace(namespace="ruiji.embed", name=name)),
                committed=None,
                attempted=value,
            )
            for name, value in (("items_in", 1_000 * self.asked), ("items_out", 990 * self.asked), ("rejected", 10))
        ]
        return SimpleNamespace(query=lambda names: {"counters": counters})


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Interrupts, also where the shell that started the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Launches a pipeline on a runner of the test, and looks at it often."""
    monkeypatch.setattr(_job, "_EVERY_SECONDS", 0.05)

    def launch(runner: Elsewhere, *flags: str) -> None:
        options = PipelineOptions(["--runner=FlinkRunner", "--job_name=ruiji-pets", *flags])
        job = Job("embed", options)
        job.runner = runner
        with job as pipeline:
            pipeline | beam.Create([1])

    return launch


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody at a terminal, who answers."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def answers(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal(text))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    return answers


def _interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_state_counters_and_rates_are_told(launched: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    runner = Elsewhere()
    runner.seen = runner.ends_soon
    launched(runner)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "ruiji: embed: job job-7 on FlinkRunner"
    assert "ruiji: embed: running" in told
    assert told[2].startswith("ruiji: embed: 990 of 1,000 accepted, 10 rejected, ")
    assert told[2].endswith(" a second")
    assert told[-1].endswith("accepted, 10 rejected")
    assert runner.name == "ruiji-pets-embed"


def test_a_job_that_fails_says_which_where_and_why(launched: Callable[..., None]) -> None:
    runner = Elsewhere(fails=True)
    runner.seen = runner.ends_soon
    with pytest.raises(JobFailed, match=r"^embed: job job-7 failed on FlinkRunner: the job is broken$"):
        launched(runner)


SAID = """Pipeline job-7 failed in state FAILED: java.lang.RuntimeException: Error received from SDK harness
  File "read_embeddings.py", line 94, in process
NameError: name 'x' is not defined

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
NameError: name 'x' is not defined [while running 'Read']

\tat org.apache.flink.Task.run
"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (SAID, "NameError: name 'x' is not defined [while running 'Read']"),
        ("\nno quota\nat line 1", "no quota"),
        ("Dataflow pipeline failed. State: FAILED, Error:\nno quota of n2\n", "no quota of n2"),
        ("", "it said nothing"),
    ],
)
def test_cause_is_the_workers_exception_where_there_is_one(said: str, cause: str) -> None:
    assert cause_of(said) == cause


def test_interrupt_cancels_where_nobody_can_be_asked(launched: Callable[..., None]) -> None:
    runner = Elsewhere(seen=_interrupt)
    with pytest.raises(KeyboardInterrupt):
        launched(runner)
    assert runner.cancelled


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_that_is_interrupted_cancels_its_job(
    number: int, code: int, launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Elsewhere(seen=lambda: _interrupt(number))
    monkeypatch.setattr(cli, "_run", lambda *_: launched(runner))
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["versions", "list", "--store", "nowhere"]) == code
    assert runner.cancelled
    assert signal.getsignal(signal.SIGTERM) == before


def test_term_cancels_without_asking(
    launched: Callable[..., None], terminal: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Elsewhere(seen=lambda: _interrupt(signal.SIGTERM))
    terminal("d\n")
    monkeypatch.setattr(cli, "_run", lambda *_: launched(runner))
    assert cli.main(["versions", "list", "--store", "nowhere"]) == 143
    assert runner.cancelled


def test_a_runner_that_does_not_cancel_is_told(
    launched: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_job, "_CANCEL_SECONDS", 0.1)
    runner = Elsewhere(seen=_interrupt)
    monkeypatch.setattr(runner, "cancel", lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        launched(runner)
    runner.ended.set()
    said = capsys.readouterr().err
    assert "FlinkRunner does not cancel: division by zero" in said
    assert "job job-7 may still run on FlinkRunner: end it there" in said


def test_a_job_of_which_nothing_is_known_any_more_is_asked_to_end(launched: Callable[..., None]) -> None:
    runner = Elsewhere(fails=True)
    runner.seen = runner.ends_soon
    runner.answers = False
    with pytest.raises(JobFailed, match=r"answers no more \(state running\): the job is broken; .* asked to end"):
        launched(runner)
    assert runner.cancelled


@pytest.mark.parametrize(
    ("answers", "flags"), [("c\n", ()), ("x\nCancel\n", ()), ("", ()), ("d\nc\n", ("--environment_type=LOOPBACK",))]
)
def test_interrupt_asks_and_cancels(
    answers: str, flags: tuple[str, ...], launched: Callable[..., None], terminal: Callable[[str], None]
) -> None:
    runner = Elsewhere(seen=_interrupt)
    terminal(answers)
    with pytest.raises(KeyboardInterrupt):
        launched(runner, *flags)
    assert runner.cancelled


def test_interrupt_asks_and_detaches(launched: Callable[..., None], terminal: Callable[[str], None]) -> None:
    runner = Elsewhere(seen=_interrupt)
    terminal("d\n")
    with pytest.raises(Detached, match="job job-7 goes on"):
        launched(runner)
    assert not runner.cancelled
    runner.ended.set()


def test_interrupt_asks_and_waits_on(launched: Callable[..., None], terminal: Callable[[str], None]) -> None:
    runner = Elsewhere()

    def seen() -> None:
        runner.ends_soon()
        _interrupt()

    runner.seen = seen
    terminal("w\n")
    launched(runner)
    assert runner.asked > 1
    assert not runner.cancelled


def test_a_local_job_is_not_watched(capsys: pytest.CaptureFixture[str]) -> None:
    with Job("embed", PipelineOptions(list(ONE_PROCESS))) as pipeline:
        pipeline | beam.Create([LedgerEntry("embed", "a", 1, 1)]) | beam.Map(count)
    assert "FnApiRunner" not in capsys.readouterr().err


@pytest.fixture
def flink() -> Iterator[tuple[str, dict[str, Any]]]:
    """(host:port, answers by path) of what answers as Flink's REST interface does."""
    answers: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_stages_of_the_newest_job_of_the_name(flink: tuple[str, dict[str, Any]]) -> None:
    master, answers = flink
    jobs = [("a", "pets-embed-1127", 1), ("b", "pets-embed-1127", 2), ("c", "pets", 3), ("d", "", 4)]
    answers["/jobs/overview"] = {"jobs": [{"jid": j, "name": n, "start-time": t} for j, n, t in jobs]}
    answers["/jobs/b"] = {"vertices": [{"status": s} for s in ("FINISHED", "FINISHED", "RUNNING", "CREATED")]}
    answers["/jobs/b/metrics?get=numRestarts"] = [{"id": "numRestarts", "value": "2"}]
    found = flink_stages(master, "pets-embed-1127_8f")
    assert found == FlinkStages(2, 4, (("CREATED", 1), ("RUNNING", 1)), 2)
    assert found.text() == "2 of 4 stages done, 1 created, 1 running, begun again 2 times"


def test_a_cluster_that_knows_nothing_or_is_not_there_tells_nothing(flink: tuple[str, dict[str, Any]]) -> None:
    master, answers = flink
    assert flink_stages(master, "pets") is None
    answers["/jobs/overview"] = {"jobs": []}
    assert flink_stages(f"http://{master}/", "pets") is None
    assert flink_stages("127.0.0.1:1", "pets") is None
