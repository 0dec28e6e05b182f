"""What a Flink cluster says by its REST interface, also of a job: Beam's job service tells nothing before the end."""

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

_WAIT_SECONDS = 5.0
_ENDED = "FINISHED"
# Where nobody answers, or not as Flink does.
UNANSWERED = (OSError, ValueError, KeyError, TypeError, HTTPException)


@dataclass(frozen=True)
class FlinkStages:
    """Attributes:
    done, total: stages.
    states: how many stages are in each other state (RUNNING, CREATED, ...).
    restarts: how often Flink has begun the job again; null where it does not say.
    """

    done: int
    total: int
    states: tuple[tuple[str, int], ...]
    restarts: int | None

    def text(self) -> str:
        """For a line of progress."""
        states = "".join(f", {count} {state.lower()}" for state, count in self.states)
        again = f", begun again {self.restarts} times" if self.restarts else ""
        return f"{self.done} of {self.total} stages done{states}{again}"


def flink_stages(master: str, job: str) -> FlinkStages | None:
    """Stages of a job; null where the cluster does not answer or knows no such job.

    Args:
        master: host:port of the REST interface, or its URL.
        job: name of the job, or the id that Beam's job service gave it, which begins with the name.
    """
    try:
        jobs = ask_flink(master, "/jobs/overview")["jobs"]
        mine = [each for each in jobs if each["name"] and f"{job}_".startswith(f"{each['name']}_")]
        if not mine:
            return None
        newest = max(mine, key=lambda each: (each.get("state") == "RUNNING", int(each["start-time"])))
        return _stages(ask_flink(master, f"/jobs/{newest['jid']}"), _restarts(master, newest["jid"]))
    except UNANSWERED:
        return None


def _stages(told: dict[str, Any], restarts: int | None) -> FlinkStages:
    states = Counter(str(vertex["status"]) for vertex in told["vertices"])
    others = tuple(sorted((state, count) for state, count in states.items() if state != _ENDED))
    return FlinkStages(states[_ENDED], sum(states.values()), others, restarts)


def _restarts(master: str, jid: str) -> int | None:
    found = ask_flink(master, f"/jobs/{jid}/metrics?get=numRestarts")
    return int(found[0]["value"]) if found else None


def ask_flink(master: str, path: str) -> Any:
    """The JSON of a path of the REST interface; raises one of UNANSWERED, which what is made of it may, too.

    Args:
        master: host:port of the interface, or its URL.
        path: with a slash in front.
    """
    url = (master if master.startswith("http") else f"http://{master}").rstrip("/")
    with urllib.request.urlopen(f"{url}{path}", timeout=_WAIT_SECONDS) as answer:
        return json.load(answer)
