import pytest

from benchmarks.comparison import BuildFigures, Figures, better
from benchmarks.curves import Point
from benchmarks.targets import System, Target, evaluate_targets, many_shards_target, target_row


def _system(graph: float | None, command: float, recall_10: float = 0.96, speed: float = 1_000.0) -> System:
    shown = Point(100, recall_10 + 0.01, recall_10, speed)
    return System(graph, command, (Point(50, 0.8, 0.9, 2 * speed), shown, Point(200, 1.0, 0.99, 10.0)))


def _found(data: str, ours: System, space: str = "l2", graph_of_hnswlib: float = 50.0) -> dict[str, Target]:
    peers = {"nmslib": _system(100.0, 110.0), "hnswlib": _system(graph_of_hnswlib, 60.0)}
    return {target.name: target for target in evaluate_targets(data, space, ours, peers)}


@pytest.mark.parametrize(("data", "verdict"), [("glove", "met"), ("clustered", "missed"), ("tiny", "no target")])
def test_target_of_a_graph_of_70_percent_depends_on_the_vectors(data: str, verdict: str) -> None:
    assert _found(data, _system(70.0, 90.0))["graph / NMSLIB"].verdict == verdict


def test_targets_of_seconds_are_ratios_to_the_builds_of_the_peers() -> None:
    found = _found("glove", _system(60.0, 90.0))
    assert found["graph / NMSLIB"].value == 0.6
    assert found["graph / hnswlib"].value == 1.2
    assert found["graph / hnswlib"].verdict == "missed"
    assert (found["command / NMSLIB"].value, found["command / NMSLIB"].verdict) == (0.9, "met")


def test_target_of_a_missing_graph_time_is_not_measured() -> None:
    assert _found("glove", _system(None, 90.0))["graph / NMSLIB"].verdict == "not measured"


@pytest.mark.parametrize(
    ("space", "recall", "verdict"),
    [
        ("l2", 0.957, "met"),
        ("l2", 0.9569, "missed"),
        ("inner_product", 0.955, "met"),
        ("inner_product", 0.95, "missed"),
    ],
)
def test_target_of_recall_depends_on_the_space(space: str, recall: float, verdict: str) -> None:
    found = _found("glove", _system(60.0, 90.0, recall_10=recall), space)
    assert found["recall@10 at ef 100 - NMSLIB"].verdict == verdict
    assert found["recall@1 at ef 100 - NMSLIB"].verdict == verdict


@pytest.mark.parametrize(("speed", "verdict"), [(950.0, "met"), (940.0, "missed")])
def test_target_of_speed_is_read_at_the_recall_of_nmslib(speed: float, verdict: str) -> None:
    found = _found("glove", _system(60.0, 90.0, speed=speed))
    assert found["queries a second at recall@10 0.9600 / NMSLIB"].verdict == verdict
    assert found["queries a second at recall@10 0.9500 / NMSLIB"].value == pytest.approx(speed / 1_000)


def test_targets_of_tiny_vectors_have_no_bounds() -> None:
    assert {target.bound for target in _found("tiny", _system(60.0, 90.0)).values()} == {None}


def test_target_of_inner_products_leaves_hnswlib_out() -> None:
    assert "graph / hnswlib" not in _found("lognormal", _system(60.0, 90.0), "inner_product")


def test_target_of_64_shards_compares_the_first_answer() -> None:
    target = many_shards_target(_system(1.0, 1.0, recall_10=0.955), _system(1.0, 1.0, recall_10=0.96))
    assert (target.value, target.verdict) == (pytest.approx(-0.005), "met")


def test_target_row_shows_value_bound_and_verdict() -> None:
    assert target_row(Target("a", 0.5, 0.7, "at most")) == ("a", "0.5000", "at most 0.700", "met")
    assert target_row(Target("a", None, None, "at least")) == ("a", "-", "-", "not measured")


@pytest.mark.parametrize(("first", "second", "best"), [(3.0, 2.0, "b"), (2.0, 3.0, "a"), (None, 50.0, "a")])
def test_better_build_is_the_one_of_fewer_seconds(first: float | None, second: float, best: str) -> None:
    builds = {name: [_build(graph)] for name, graph in (("a", first), ("b", second))}
    curves = {name: [(Point(100, 1.0, 1.0, 1.0),)] for name in builds}
    assert better(Figures(builds, curves), ("a", "b")) == best


def _build(graph: float | None) -> BuildFigures:
    return BuildFigures(graph, graph, 10.0, 1.0, {}, 1, 1, 1, 1, 0.0)
