"""Who watches a run: the pictures of its directory, consoles, callbacks, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

from mulligan import doctor, pictures, runlog, seeds
from mulligan.calibration import Forecast
from mulligan.doctor import Verdict
from mulligan.errors import check_callable
from mulligan.loop import ASKED, INTERRUPTED, Progress
from mulligan.recipe import Recipe
from mulligan.runlog import Row
from mulligan.state import State

POINTS = 2048
EARLY = 5  # examinations: the first tenth of a long run, the first fifth and more of a short one
AT_ONCE = ("non-finite", "wrong-pixel-range", "learning-rate-too-high")
PATIENCE = 0.1  # of the budget, that a run may be ill for before it is given up


class Console(Protocol):
    """Where a run shows itself; the command line's has a progress bar."""

    def begin(self, state: State, run: Path, note: str, forecast: Forecast | None = None) -> None:
        """Hear that a run begins."""

    def row(self, row: Row, progress: Progress) -> None:
        """Show a row of the log."""

    def tick(self, progress: Progress) -> None:
        """Refresh what is live."""

    def end(self) -> None:
        """Hear that the run has ended, well or not."""


@dataclass(frozen=True)
class Callback:
    """A console that passes progress on."""

    call: Callable[[Progress], object]

    def __post_init__(self) -> None:
        check_callable(self.call, "on_progress")

    def begin(self, state: State, run: Path, note: str, forecast: Forecast | None = None) -> None:
        """There is nothing to pass on yet."""

    def row(self, row: Row, progress: Progress) -> None:
        """Pass it on."""
        self.call(progress)

    def tick(self, progress: Progress) -> None:
        """Pass it on."""
        self.call(progress)

    def end(self) -> None:
        """There is nothing left to pass on."""


@dataclass
class Observer:
    """Draws the pictures of a run directory, has the doctor look at its log, and passes the rest on.

    Attributes:
        gives_up: Should a run that is lost end, so that another can take its place?
    """

    run: Path
    recipe: Recipe
    consoles: Sequence[Console]
    should_stop: Callable[[Progress], bool] | None
    signalled: Callable[[], bool]
    judge: Callable[[State], Row]
    gives_up: bool = False
    drawn_at: int = field(default=-1, init=False)
    verdict: Verdict | None = field(default=None, init=False)
    lost_since: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        (self.run / runlog.FRAMES).mkdir(parents=True, exist_ok=True)
        self.rows = runlog.rows_so_far(self.run)

    def row(self, row: Row, progress: Progress) -> None:
        """Show it."""
        self.rows.append(row)
        if "vitals" in row or "card" in row:
            with contextlib.suppress(Exception):  # nothing that goes wrong with a verdict may harm the run
                self._diagnose(progress.images)
        for console in self.consoles:
            console.row(row, replace(progress, verdict=self.verdict))

    def _diagnose(self, images: int) -> None:
        before, self.verdict = self.verdict, doctor.diagnose(self.recipe, self.rows).worst
        examined = sum("vitals" in row for row in self.rows)
        if self.verdict and examined < EARLY and self.verdict.kind not in AT_ONCE:
            self.verdict = None  # every generator begins with fakes that are alike, and a D that is sure
        lost = bool(self.verdict and self.verdict.severity == "critical")
        same = bool(before and self.verdict and before.kind == self.verdict.kind)
        self.lost_since = (
            (self.lost_since if same and self.lost_since is not None else images) if lost else None
        )

    def tick(self, progress: Progress) -> None:
        """Show it."""
        for console in self.consoles:
            console.tick(replace(progress, verdict=self.verdict))

    def asks_to_stop(self, progress: Callable[[], Progress]) -> str | None:
        """Stop for a signal, because the caller says so, or because the run is lost."""
        if self.signalled():
            return INTERRUPTED
        if self.should_stop and self.should_stop(replace(progress(), verdict=self.verdict)):
            return ASKED
        if self.gives_up and self.verdict and self.lost_since is not None:
            now = progress()
            if self.verdict.changes and now.images - self.lost_since >= PATIENCE * now.budget:
                return f"{self.verdict.kind} since {self.verdict.onset_images:,} images"
        return None

    def picture(self, state: State) -> None:
        """Draw the recipe's own picture, with fresh latents or always the same."""
        rows, columns = state.recipe.samples.grid
        fresh = state.recipe.samples.latents == "fresh"
        seed = seeds.derive(state.seed, "picture", state.images) if fresh else 0
        images = state.sampler().sample(_enough(state, rows * columns), seed)
        pictures.save_png(self.run / runlog.SAMPLES / _file(state), pictures.draw(images, columns))
        self.drawn_at = state.images

    def card(self, state: State) -> Row:
        """Measure a light scorecard of the generator as it is now."""
        return self.judge(state)

    def frame(self, state: State) -> None:
        """Draw a frame of the time lapse: always the same latents."""
        images = state.sampler().sample(_enough(state, 16))
        pictures.save_png(self.run / runlog.FRAMES / _file(state), pictures.draw(images))

    def finish(self, state: State, *, paused: bool) -> None:
        """Leave the grid and the time lapse; and the last picture, unless the run is to go on."""
        if not paused:
            if self.drawn_at != state.images:
                self.picture(state)
            self.frame(state)
        pictures.save_png(self.run / runlog.GRID, pictures.draw(state.sampler().sample(_enough(state, 64))))
        frames = sorted((self.run / runlog.FRAMES).glob("*.png"))
        pictures.save_time_lapse(self.run / runlog.TIMELAPSE, frames)


def _enough(state: State, images: int) -> int:
    """Return how many samples make a picture: a plane needs more points than a grid has images."""
    return POINTS if state.recipe.generator.output == "linear" else images


def _file(state: State) -> str:
    return f"{state.images:012d}.png"


@contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one acts as usual."""
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received.is_set  # only the main thread may handle signals
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def receive(_number: int, _frame: FrameType | None) -> None:
        received.set()
        for kind in kinds:
            signal.signal(kind, before[kind])
        with contextlib.suppress(OSError):  # nobody may be reading any more, and print is not for handlers
            os.write(2, "mulligan: finishing this step, then saving …\n".encode())

    for kind in kinds:
        signal.signal(kind, receive)
    try:
        yield received.is_set
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])
