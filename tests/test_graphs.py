"""An update as one launch, recorded by a stand-in for a GPU; and by a GPU, where there is one."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mulligan
from mulligan import calibration, checkpoint, compiled, graphs, hardware, loop, state
from mulligan.checkpoint import Checkpoint
from mulligan.compiled import CannotCompile, as_written
from mulligan.errors import RunError
from mulligan.hardware import Mode
from mulligan.loop import Progress
from mulligan.runlog import Row
from mulligan.state import State
from mulligan.step import GAN, Knobs, Source, Update
from test_compiled import CASES, a_recipe, assert_same, go_on_from_a_checkpoint, images, pair

Function = Callable[[], Sequence[Tensor]]


class Recorder:
    """Records as a GPU does: what was recorded reads from and writes to the same places ever after."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, function: Function) -> tuple[Sequence[Tensor], Callable[[], None]]:
        self.recorded += 1
        places = [tensor.clone() for tensor in function()]

        def replay() -> None:
            torch._foreach_copy_(places, list(function()))

        return places, replay


@pytest.mark.parametrize(
    "case", ["relativistic, r1, r2", "average of batchnorm", "three turns of D", "batchnorm, short batches"]
)
def test_a_captured_run_is_the_run_as_it_is_written(case: str) -> None:
    recorder = Recorder()
    plain, captured = pair(a_recipe(**CASES[case]), images(), recorder)
    assert_same(plain, captured)  # recording has moved nothing
    for _ in range(7):
        ours, theirs = plain.advance(), captured.advance()
        torch.testing.assert_close(ours.d.loss, theirs.d.loss, rtol=0, atol=1e-9)
        torch.testing.assert_close(ours.g.fake_logits, theirs.g.fake_logits, rtol=0, atol=1e-9)
        torch.testing.assert_close(ours.health, theirs.health, rtol=0, atol=1e-9)
    assert_same(plain, captured)
    assert recorder.recorded == 1
    assert plain.health is not None
    assert captured.health is not None
    torch.testing.assert_close(plain.health, captured.health, rtol=0, atol=1e-9)


def test_what_lies_elsewhere_after_restoring_is_recorded_anew() -> None:
    recorder = Recorder()
    plain, captured = pair(a_recipe(**CASES["average"]), images(), recorder)
    go_on_from_a_checkpoint(plain, captured)
    assert_same(plain, captured)
    assert recorder.recorded == 2


def failing(_: Function) -> tuple[Sequence[Tensor], Callable[[], None]]:
    raise RuntimeError("operation not permitted when stream is capturing\nand more")


def idle(function: Function) -> tuple[Sequence[Tensor], Callable[[], None]]:
    """Record nothing: a replay leaves everything as it is."""
    return [tensor.clone() for tensor in function()], lambda: None


@pytest.mark.parametrize(
    ("record", "said"), [(failing, r"not permitted when stream is capturing$"), (idle, "is not what")]
)
def test_a_recording_that_fails_or_does_something_else_is_not_used(
    record: graphs.Recorder, said: str
) -> None:
    chosen = a_recipe()
    plain, refused = (state.begin(chosen, images(), dtype=torch.float64) for _ in range(2))
    with pytest.raises(CannotCompile, match=said):
        refused.compile(as_written, record)
    assert refused.compiled is None
    for _ in range(3):
        plain.advance()
        refused.advance()
    assert_same(plain, refused)


@pytest.mark.parametrize("wrong", ["small", "nan"])
def test_every_part_must_be_moved_as_it_is_meant_to(wrong: str) -> None:
    """A part that is small beside another may not hide behind it, nor what is no number behind anything."""

    def flat(small: Tensor, large: Tensor, x: Tensor) -> list[Tensor]:
        small.add_(x)
        large.add_(1e6 * x)
        return [x.sum()]

    def record(function: Function) -> tuple[Sequence[Tensor], Callable[[], None]]:
        results = list(function())

        def replay() -> None:
            large.add_(1e6 if wrong == "small" else math.nan)

        return results, replay

    small, large, x = torch.zeros(3), torch.zeros(3), torch.ones(3)
    captured = graphs.Captured(flat, ["small", "large"], record)
    captured(small, large, x)
    assert captured.failed == "a recorded update is not what it was recorded from"
    assert torch.equal(small, torch.ones(3))  # the function itself was called, once
    assert torch.equal(large, torch.full((3,), 1e6))


def test_a_remembered_way_that_fails_now_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run = state.begin(a_recipe(budget={"images": 10_000_000}), images())
    figures = calibration.Figures(run)
    for precision in hardware.PRECISIONS:
        figures.note(Mode(precision), 1e-3 if precision == "exact" else 2e-3)
        figures.note(Mode(precision, compiled=True), 1e-4)
    figures.save()
    monkeypatch.setenv(compiled.SWITCH, "0")
    forecast = calibration.choose(run)
    assert forecast is not None
    assert forecast.mode == Mode()
    assert "updates are not compiled" in forecast.note


def test_a_busy_moment_changes_the_forecast_and_not_the_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(compiled.SWITCH, "0")
    monkeypatch.setattr(hardware, "multiplies_bf16", lambda _device: True)

    def timed(load: float, run: state.State, **_: int) -> float:
        return load * {"exact": 2e-3, "bf16": 1.5e-3}[run.mode.precision]

    seconds = []
    for load in (1.0, 2.5, 1.0):
        monkeypatch.setattr(calibration, "_seconds_per_update", partial(timed, load))
        forecast = calibration.choose(state.begin(a_recipe(budget={"images": 10_000_000}), images()))
        assert forecast is not None
        assert forecast.mode == Mode("bf16")
        seconds.append(forecast.seconds)
    assert seconds == pytest.approx([seconds[0], 2.5 * seconds[0], seconds[0]])


def test_the_quickest_of_a_few_updates_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """One slow moment, of another program's making, is not held against a way to compute."""
    run = state.begin(a_recipe(), images())
    clock = iter([0.0, 5.0, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert calibration._seconds_per_update(run, least=4, typical=min) == 5.0  # it took too long to go on
    clock = iter([0.0, 3.0, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5])
    assert calibration._seconds_per_update(run, least=4, typical=min) == 0.5
    clock = iter([0.0, 0.5])
    assert calibration._seconds_per_update(run) == 0.5


class Nobody:
    """Watches nothing."""

    def row(self, row: Row, progress: Progress) -> None: ...
    def picture(self, state: State) -> None: ...
    def frame(self, state: State) -> None: ...
    def tick(self, progress: Progress) -> None: ...

    def card(self, state: State) -> Row:
        return {}

    def asks_to_stop(self, progress: Callable[[], Progress]) -> str | None:
        return None


class Elsewhere(State):
    """A run on a device that is ahead of what has been looked at."""

    @property
    def device(self) -> torch.device:
        return torch.device("meta")


def test_on_a_device_that_is_ahead_a_broken_run_ends_before_anything_is_written(tmp_path: Path) -> None:
    chosen = a_recipe(
        optimizer={"generator": {"lr": 1e-3}, "discriminator": {"lr": 1e-3}},
        budget={"images": 6_000},
        log={"every": 600, "examinations": 0},
        checkpoint={"every": 600},
        card={"every": 0},
        samples={"every": 0},
    )
    plain = state.begin(chosen, images())
    run = Elsewhere(**{field.name: getattr(plain, field.name) for field in fields(plain)})
    advance = run.gan.order

    def breaking(gan: GAN, source: Source, knobs: Knobs) -> Update:
        update = advance(gan, source, knobs)
        return replace(update, health=torch.tensor(math.nan)) if run.steps == 120 else update

    run.gan = replace(run.gan, order=breaking)
    with pytest.raises(RunError, match=r"the 26 steps up to 126: a number of an earlier"):
        loop.train(run, tmp_path, Nobody())
    assert [int(path.stem) for path in checkpoint.history(tmp_path)][-1] == 600
    row = json.loads((tmp_path / "log.jsonl").read_text("utf-8").splitlines()[-1])
    assert row["within"] == 26


def test_a_run_goes_on_where_it_can_no_longer_be_recorded() -> None:
    seen: list[int] = []

    def once(function: Function) -> tuple[Sequence[Tensor], Callable[[], None]]:
        seen.append(1)
        return Recorder()(function) if len(seen) == 1 else failing(function)

    plain, captured = pair(a_recipe(), images(), once)
    for run in (plain, captured):
        run.advance()
    captured.restore(Checkpoint(Path("here"), copy.deepcopy(captured.tensors()), captured.meta()))
    for run in (plain, captured):
        for _ in range(3):
            run.advance()
    assert_same(plain, captured)
    assert len(seen) == 2


def test_a_processor_captures_nothing_and_says_so() -> None:
    run = state.begin(a_recipe(), images())
    with pytest.raises(CannotCompile, match="only a CUDA device"):
        run.use(Mode(captured=True))
    assert run.mode == Mode()
    run.advance()


def test_what_a_gpu_began_a_processor_goes_on_with_and_says_so() -> None:
    run = state.begin(a_recipe(), images())
    forecast = calibration.choose(run, mode=Mode("exact", captured=True))
    assert forecast is not None
    assert "float32, captured before; now only a CUDA device" in forecast.note


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_on_a_gpu_a_captured_run_is_the_run_as_it_is_written(case: str) -> None:
    chosen = a_recipe(**CASES[case])
    plain, captured = (state.begin(chosen, images(), device="cuda", dtype=torch.float64) for _ in range(2))
    captured.use(Mode(captured=True))
    for _ in range(5):
        plain.advance()
        captured.advance()
    assert_same(plain, captured)


@pytest.mark.gpu
def test_on_a_gpu_a_run_is_trained_and_gone_on_with(tmp_path: Path) -> None:
    run = mulligan.train("swift", data="mnist-synth", images=4_000, out=tmp_path / "run", device="cuda")
    assert run.images >= 4_000
    more = mulligan.resume(run.directory, images=6_000, device="cuda")
    assert more.images >= 6_000
