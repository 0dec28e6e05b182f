"""What the tests remember of Beam is what Beam itself finds."""

from typing import Any

import pytest
from apache_beam import DoFn, Map, TimeDomain
from apache_beam.coders import VarIntCoder
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.transforms import core, userstate
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer

FLAGS = [
    [],
    ["--runner=FlinkRunner", "--environment_type=EXTERNAL", "--streaming", "--num_workers=3"],
    ["--experiments=a", "--experiments=b", "--labels=team=search", "--unknown=7"],
]


def _told(flags: list[str], **overrides: Any) -> list[object]:
    made = PipelineOptions(flags, **overrides)
    views = [made.view_as(kind) for kind in (StandardOptions, WorkerOptions, PortableOptions, SetupOptions)]
    cloud = made.view_as(GoogleCloudOptions)
    cloud.labels = [*(cloud.labels or []), "more=1"]
    return [
        made.get_all_options(),
        *(view.get_all_options() for view in views),
        made.view_as(GoogleCloudOptions).labels,
    ]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("overrides", [{}, {"num_workers": 9}])
def test_options_are_those_of_beam_however_often_they_are_asked(flags: list[str], overrides: dict[str, Any]) -> None:
    found = [_told(flags, **overrides) for _ in range(3)]
    remembered = PipelineOptions.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_options.PipelineOptions, "__init__", remembered.__wrapped__)
        expected = _told(flags, **overrides)
    assert found == [expected] * 3


class _Stateful(DoFn):
    def process(self, element: int, window=DoFn.WindowParam, *more: int, other: int = 3):
        yield element, window

    def finish_bundle(self) -> None:
        pass


class _Remembering(DoFn):
    seen = BagStateSpec("seen", VarIntCoder())
    due = TimerSpec("due", TimeDomain.WATERMARK)

    def process(self, element: tuple[str, int], seen=DoFn.StateParam(seen), due=DoFn.TimerParam(due)):  # noqa: B008
        yield element

    @on_timer(due)
    def at_due(self, seen=DoFn.StateParam(seen)):  # noqa: B008
        yield seen


class _Twice(DoFn):
    def process(self, element: tuple[str, int], key=DoFn.KeyParam, again=DoFn.KeyParam):
        yield key, again


def test_arguments_are_those_of_beam() -> None:
    remembered = core.get_function_args_defaults
    asked = [_Stateful().process, _Stateful.process, _Stateful().finish_bundle, str.upper, lambda a, b=2: a, int]
    for function in (*asked, *asked):
        assert remembered(function) == remembered.__wrapped__(function)
    remembered(asked[0])[0].append("mine")
    assert remembered(asked[0]) == remembered.__wrapped__(asked[0])


def test_state_of_classes_is_that_of_beam() -> None:
    remembered, bound = userstate.get_dofn_specs, _Stateful()
    bound.process = _Remembering().process  # type: ignore[method-assign]
    asked = [_Stateful(), _Remembering(), bound, Map(len).fn, Map("".join).fn]
    for dofn in (*asked, *asked):
        assert remembered(dofn) == remembered.__wrapped__(dofn)
    assert remembered(asked[1]) == ({_Remembering.seen}, {_Remembering.due})
    remembered(asked[1])[0].clear()
    assert remembered(asked[1])[0]
    for _ in range(2):
        with pytest.raises(ValueError, match="duplicate"):
            remembered(_Twice())
