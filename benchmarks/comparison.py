"""What `benchmarks/index.py` measures of each system, and its tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.curves import SHOWN_EFS, Curve, median_curve, point_at, speed_at_recall
from benchmarks.tables import markdown_table, mebibytes, median_and_all, median_of, shown
from benchmarks.targets import EF, RECALL, System


@dataclass(frozen=True)
class BuildFigures:
    """One build of one system.

    Attributes:
        graph_seconds, written_seconds, command_seconds, cpu_seconds: see `index.py`.
        parts: seconds of the parts of Ruiji's command, from its timings.json.
        largest_bytes: of the largest SDK worker, or of the peer's process.
        main_bytes: of the process that was started.
        all_bytes: summed proportional size.
        load: of the machine in the minute before.
        version: id of Ruiji's version, the same in all rounds.
    """

    graph_seconds: float | None
    written_seconds: float | None
    command_seconds: float
    cpu_seconds: float
    parts: Mapping[str, float]
    largest_bytes: int
    main_bytes: int
    all_bytes: int
    file_bytes: int
    load: float
    version: str | None = None


@dataclass(frozen=True)
class Figures:
    """All builds and curves, by system, one a round."""

    builds: Mapping[str, Sequence[BuildFigures]]
    curves: Mapping[str, Sequence[Curve]]

    def system(self, name: str) -> System:
        """Medians of one system."""
        builds = self.builds[name]
        graph = median_of([b.graph_seconds for b in builds])
        return System(graph, median_of([b.command_seconds for b in builds]), median_curve(self.curves[name]))


def better(figures: Figures, ours: Sequence[str]) -> str:
    """Ruiji's build with the fewest seconds of the graph, else of the command."""
    systems = {name: figures.system(name) for name in ours}
    seconds = {n: s.graph_seconds if s.graph_seconds is not None else s.command_seconds for n, s in systems.items()}
    return min(ours, key=lambda name: seconds[name] or float("inf"))


def builds_table(figures: Figures, systems: Sequence[str]) -> str:
    """Seconds, memory and size."""
    headers = ["system", "graph s", "read to written s", "command s", "CPU s"]
    headers += ["largest worker MiB", "started process MiB", "all MiB", "file MiB"]
    rows = []
    for name in systems:
        builds = figures.builds[name]
        sizes = ("largest_bytes", "main_bytes", "all_bytes", "file_bytes")
        row = [
            name,
            median_and_all([b.graph_seconds for b in builds]),
            shown(median_of([b.written_seconds for b in builds]), 1),
            median_and_all([b.command_seconds for b in builds]),
            shown(statistics.median(b.cpu_seconds for b in builds), 1),
        ]
        rows.append([*row, *(mebibytes(statistics.median(getattr(b, size) for b in builds)) for size in sizes)])
    return markdown_table(headers, rows)


def parts_table(figures: Figures, ours: Sequence[str]) -> str:
    """Medians of the parts of Ruiji's command."""
    names = sorted({part for name in ours for build in figures.builds[name] for part in build.parts})
    rows = []
    for name in ours:
        medians = [median_of([build.parts.get(part) for build in figures.builds[name]]) for part in names]
        rows.append([name, *(shown(value, 1) for value in medians)])
    return markdown_table(["system", *(part.removesuffix("_seconds") + " s" for part in names)], rows)


def queries_table(figures: Figures, systems: Sequence[str]) -> str:
    """Recall and speed at the efSearch values that people use."""
    rows = []
    for name in systems:
        curve = figures.system(name).curve
        for ef in SHOWN_EFS:
            point = point_at(curve, ef)
            speed = shown(point.queries_per_second)
            rows.append([name, str(ef), shown(point.recall_1, 4), shown(point.recall_10, 4), speed])
    return markdown_table(["system", "ef", "recall@1", "recall@10", "queries a second"], rows)


def with_rounds(value: float | None, rounds: Sequence[float | None]) -> str:
    """A figure, and where there are several rounds what each of them gives: how far it can be trusted."""
    return shown(value) if len(rounds) < 2 else f"{shown(value)} ({', '.join(shown(each) for each in rounds)})"


def equal_recall_table(figures: Figures, systems: Sequence[str]) -> str:
    """Speed at NMSLIB's recall@10 at efSearch 100, and at 0.95: of the median curve, and of each round's."""
    nmslib = figures.system("nmslib").curve
    wanted = (point_at(nmslib, EF).recall_10, RECALL)
    headers = ["system", *(word for r in wanted for word in (f"queries a second at recall@10 {r:.4f}", "/ NMSLIB"))]
    rows = []
    for name in systems:
        row = [name]
        for value in wanted:
            speed, other = speed_at_recall(figures.system(name).curve, value), speed_at_recall(nmslib, value)
            rounds = [speed_at_recall(curve, value) for curve in figures.curves[name]]
            row += [with_rounds(speed, rounds), shown(speed / other if speed is not None and other else None, 3)]
        rows.append(row)
    return markdown_table(headers, rows)
