"""A Beam job that is watched: its stages, rates and rejects on standard error, and a question on Ctrl-C.

Beam's own runner works a job before it comes back, so that there is nothing to watch but the tallies (`runs.tally`).
Any other works it elsewhere: the command asks for its state, stages and counters every ten seconds.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipelines._main import Terminated, notify
from sim_transforms.counters import counted, counters_text
from sim_transforms.errors import Detached, JobFailed, one_line
from sim_transforms.options import runner_of, runs_here
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.runs.flink import flink_stages

_EVERY_SECONDS = 10.0
# So long a runner may take to end a job that was cancelled.
_CANCEL_SECONDS = 60.0


class Job(beam.Pipeline):
    """A pipeline for `with`, launched, watched and waited for on leaving.

    Args:
        name: of the job, as messages call it; added to `--job_name`.
        options: of Beam.

    Raises:
        JobFailed: the job has failed, on a runner elsewhere.
        Detached: on Ctrl-C, where the user lets the job go on without the command.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, the job being cancelled.
    """

    def __init__(self, name: str, options: PipelineOptions) -> None:
        """Launches nothing yet."""
        self._name, self._here = name, runs_here(options)
        super().__init__(options=options)

    def run(self, test_runner_api: bool | str = "AUTO") -> Any:
        """Launches it; the result's `wait_until_finish` watches."""
        with named(self._name, self.options):
            result = super().run(test_runner_api)
        return result if self._here else _Watched(self._name, result, self.options)


@contextmanager
def named(name: str, options: PipelineOptions) -> Iterator[None]:
    """Jobs that are launched meanwhile have `name` behind `--job_name`."""
    cloud = options.view_as(GoogleCloudOptions)
    given = cloud.job_name
    cloud.job_name = f"{given or 'ruiji'}-{name}"
    try:
        yield
    finally:
        cloud.job_name = given


class _Watched:
    """A job that runs elsewhere."""

    def __init__(self, name: str, result: PipelineResult, options: PipelineOptions) -> None:
        self._name, self._result = name, result
        self._runner = runner_of(options)
        chosen = options.get_all_options()
        self._master = str(chosen.get("flink_master") or "")
        # Prism is our child, and so are workers that loop back: they end with the command.
        self._outlives = self._runner != "PrismRunner" and chosen.get("environment_type") != "LOOPBACK"
        self._id = str(getattr(result, "_job_id", None) or _call(getattr(result, "job_id", None)) or "")
        self._error: Exception | None = None
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        self._before: tuple[float, dict[str, LedgerTotals]] = (time.monotonic(), {})

    def wait_until_finish(self) -> Any:
        """Tells of the job until it has ended."""
        self._waiting.start()
        while True:
            try:
                notify(f"{self._name}: job {self._id} on {self._runner}")
                while self._waiting.is_alive():
                    self._waiting.join(_EVERY_SECONDS)
                    if self._waiting.is_alive():
                        self._tell()
                break
            except KeyboardInterrupt as interrupt:
                self._interrupted(interrupt)
        if self._error is not None:
            raise self._failure(self._error) from self._error
        self._tell_counters(ended=True)
        return self._result.state

    def _failure(self, error: Exception) -> JobFailed:
        """The job has failed, or nobody can say any more what becomes of it."""
        state = str(_call(lambda: self._result.state) or "not known")
        job = f"{self._name}: job {self._id}"
        if PipelineState.is_terminal(state):
            return JobFailed(f"{job} failed on {self._runner}: {cause_of(str(error))}")
        _call(self._result.cancel)
        return JobFailed(
            f"{job} on {self._runner} answers no more (state {state.lower()}): {cause_of(str(error))}; it was asked to "
            "end, but look there whether it has"
        )

    def metrics(self) -> Any:
        """Of the job, as they are now."""
        if hasattr(self._result, "_metrics"):
            self._result._metrics = None  # a portable result keeps the first answer for ever
        return self._result.metrics()

    def _wait(self) -> None:
        try:
            self._result.wait_until_finish()
        except Exception as error:
            self._error = error

    def _tell(self) -> None:
        stages = flink_stages(self._master, self._id) if self._master else None
        state = _call(lambda: self._result.state) or "state not known"
        notify(f"{self._name}: {str(state).lower()}{f', {stages.text()}' if stages else ''}")
        self._tell_counters()

    def _tell_counters(self, ended: bool = False) -> None:
        now, stages = time.monotonic(), _call(lambda: counted(self.metrics())) or {}
        (before, known), self._before = self._before, (now, stages)
        if not stages or (stages == known and not ended):
            return
        done = sum(totals.items_in for totals in stages.values()) - sum(totals.items_in for totals in known.values())
        rate = "" if ended else f", {done / max(now - before, 1e-3):,.0f} a second"
        notify(f"{self._name}: {counters_text(stages)}{rate}")

    def _interrupted(self, interrupt: KeyboardInterrupt) -> None:
        """Does what the user chooses; where nobody can be asked, the job is cancelled."""
        detach = ", [d]etach from it" if self._outlives else ""
        question = f"{self._name}: [c]ancel the job{detach}, or [w]ait for it? "
        choices = "cdw" if self._outlives else "cw"
        choice = "c" if isinstance(interrupt, Terminated) else _ask(question, choices)
        if choice == "w":
            return
        if choice == "d":
            raise Detached(
                f"detached: job {self._id} goes on, and nothing takes up what it writes: the next run works "
                f"{self._name} anew"
            )
        notify(f"{self._name}: cancelling job {self._id}")
        try:
            self._result.cancel()
            self._waiting.join(_CANCEL_SECONDS)
        except Exception as error:
            notify(f"{self._name}: {self._runner} does not cancel: {one_line(error)}")
        if self._waiting.is_alive():
            notify(f"{self._name}: job {self._id} may still run on {self._runner}: end it there")
        raise interrupt


def cause_of(said: str) -> str:
    """The line of a runner's words that says most: a worker's own exception, else the first that is no heading.

    Args:
        said: traces of Java and Python, nested, in which Beam marks the worker's exception by the step it came from.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if " [while running " in line]
    telling = [line for line in lines if not line.endswith(":")]
    return next(iter([*marked[-1:], *telling, *lines]), "it said nothing")


def _ask(question: str, choices: str) -> str:
    """The first letter of the answer, `c` where nobody is there to answer or Ctrl-C is pressed again."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "c"
    try:
        while True:
            sys.stderr.write(f"\nruiji: {question}")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            if not answer:
                return "c"
            if (letter := answer.strip().lower()[:1]) and letter in choices:
                return letter
    except KeyboardInterrupt:
        return "c"


def _call(ask: Callable[[], Any] | None) -> Any:
    """What a runner answers, null where it does not: a job is not given up because it could not be asked."""
    try:
        return ask() if ask is not None else None
    except Exception:
        return None
