"""Training from end to end: recipe → build → loop → run directory, and what watches it.

The room is called ``training`` because ``mulligan.train`` is the function.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch

from mulligan import data as data_room
from mulligan import hardware, loop, pictures, runlog, seeds, state
from mulligan import recipe as recipes
from mulligan.data.dataset import Dataset
from mulligan.loop import Progress
from mulligan.model import Model, load
from mulligan.recipe import Recipe
from mulligan.runlog import Row
from mulligan.sampler import Images
from mulligan.state import State

INTERRUPTED = "interrupted"


class Console(Protocol):
    """Where a run shows itself; the command line's has a progress bar."""

    def begin(self, plan: Plan, run: Path) -> None:
        """Hear that a run begins."""

    def row(self, row: Row, progress: Progress) -> None:
        """Show a row of the log."""

    def tick(self, progress: Progress) -> None:
        """Refresh what is live."""

    def end(self) -> None:
        """Hear that the run has ended, well or not."""


@dataclass(frozen=True)
class Plan:
    """A run that has been checked from end to end and built, before anything is written.

    Attributes:
        state: Both networks and their data, at the first moment.
        device: Where it will compute.
        note: A sentence for the user where something was chosen for them, else empty.
    """

    state: State
    device: torch.device
    note: str

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.state.recipe


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        directory: Where everything is.
        reason: Why it ended, in a few words.
        images: Reals that D consumed.
        steps: Updates made.
        seconds: Time spent training.
        interrupted: Did a signal end it early?
    """

    directory: Path
    reason: str
    images: int
    steps: int
    seconds: float
    interrupted: bool

    def model(self) -> Model:
        """Load the generator of the last checkpoint."""
        return load(self.directory)

    def sample(self, n: int, seed: int = 0) -> Images:
        """Draw images 0..n-1 of a seed from the last checkpoint: uint8 ``[n, C, H, W]``."""
        return self.model().sample(n, seed)


def prepare(
    recipe: str | Path | Recipe = "mlp-relu",
    *,
    data: str | Path | Dataset = "auto",
    size: int | None = None,
    images: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    overrides: tuple[str, ...] = (),
) -> Plan:
    """Resolve and check everything a run needs; see ``train`` for the arguments.

    Raises:
        UserError: anything that would keep the run from starting.
    """
    where = hardware.device(device)
    resolved = recipe if isinstance(recipe, Recipe) else recipes.read(recipe, overrides)
    resolved = _with_budget(resolved, images, steps, minutes)
    dataset = (
        data
        if isinstance(data, Dataset)
        else data_room.load(str(data), size=size, default_size=resolved.data.size)
    )
    return Plan(state.begin(resolved, dataset, seed=seed, device=where), where, dataset.note)


def train(
    recipe: str | Path | Recipe = "mlp-relu",
    *,
    data: str | Path | Dataset = "auto",
    size: int | None = None,
    images: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    on_progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[Progress], bool] | None = None,
) -> Run:
    """Train a GAN and leave a run directory behind.

    Args:
        recipe: A recipe's name, a TOML file, or a ``Recipe``.
        data: ``auto``, ``mnist``, ``fashion-mnist``, ``kmnist``, ``digits``, a folder of images,
            an ``.npz`` file, or a ``Dataset``.
        size: Resize all images to size × size pixels.
        images: Budget in real images shown to D, instead of the recipe's.
        steps: Budget in updates; the sooner of the two ends the run.
        minutes: Cut the run off after so many minutes; schedules still follow the images.
        seed: The same seed on the same machine gives the same bits.
        out: The run directory, new or empty; ``runs/<date>-<recipe>-<n>`` by default.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        overrides: ``path.to.key=value`` changes to the recipe.
        on_progress: Called about four times a second and with every row of the log.
        should_stop: Asked after every update; True ends the run as a full budget would.

    Returns:
        The finished run.

    Raises:
        UserError: the input cannot be used; nothing was written.
        RunError: the run could not go on; its last checkpoint is whole.
    """
    ready = prepare(
        recipe,
        data=data,
        size=size,
        images=images,
        steps=steps,
        minutes=minutes,
        seed=seed,
        device=device,
        overrides=overrides,
    )
    consoles = [_Callback(on_progress)] if on_progress else []
    return execute(ready, Path(out) if out else None, consoles=consoles, should_stop=should_stop)


def execute(
    plan: Plan,
    out: Path | None,
    *,
    consoles: Sequence[Console] = (),
    should_stop: Callable[[Progress], bool] | None = None,
) -> Run:
    """Carry out a plan. SIGINT and SIGTERM end it after the current update, with a checkpoint."""
    begun = plan.state
    run = runlog.create(out, plan.recipe)
    environment = hardware.environment(plan.device)
    runlog.describe(run, plan.recipe, {**environment, "seed": begun.seed, "data": begun.about_data})
    with _signals() as signalled, ExitStack() as ending:
        for console in consoles:
            console.begin(plan, run)
            ending.callback(console.end)
        observer = _Observer(run, consoles, should_stop, signalled)
        reason = loop.train(begun, run, observer)
        observer.finish(begun)
    return Run(run, reason, begun.images, begun.steps, begun.seconds, reason == INTERRUPTED)


def _with_budget(recipe: Recipe, images: int | None, steps: int | None, minutes: float | None) -> Recipe:
    """Lay the caller's budget over the recipe's; schedules and the time lapse follow its images."""
    budget = recipe.budget.model_dump()
    if steps is not None:
        budget |= {"steps": steps, "images": steps * recipe.data.batch * recipe.step.d_steps}
    if images is not None:
        budget |= {"images": images}
    if minutes is not None:
        budget |= {"minutes": minutes}
    return recipes.from_dict(recipes.merge(recipe.model_dump(), {"budget": budget}), recipe.name)


@dataclass(frozen=True)
class _Callback:
    """A console that passes progress on."""

    call: Callable[[Progress], object]

    def begin(self, plan: Plan, run: Path) -> None:
        """There is nothing to pass on yet."""

    def row(self, row: Row, progress: Progress) -> None:
        self.call(progress)

    def tick(self, progress: Progress) -> None:
        self.call(progress)

    def end(self) -> None:
        """There is nothing left to pass on."""


@dataclass
class _Observer:
    """Draws the pictures of a run directory, and passes the rest on."""

    run: Path
    consoles: Sequence[Console]
    should_stop: Callable[[Progress], bool] | None
    signalled: Callable[[], bool]
    drawn_at: int = field(default=-1)

    def __post_init__(self) -> None:
        (self.run / runlog.FRAMES).mkdir(parents=True, exist_ok=True)

    def row(self, row: Row, progress: Progress) -> None:
        for console in self.consoles:
            console.row(row, progress)

    def tick(self, progress: Progress) -> None:
        for console in self.consoles:
            console.tick(progress)

    def asks_to_stop(self, progress: Callable[[], Progress]) -> str | None:
        if self.signalled():
            return INTERRUPTED
        if self.should_stop and self.should_stop(progress()):
            return "the caller asked to stop"
        return None

    def picture(self, state: State) -> None:
        """Draw the recipe's own picture, with fresh latents or always the same."""
        rows, columns = state.recipe.samples.grid
        fresh = state.recipe.samples.latents == "fresh"
        seed = seeds.derive(state.seed, "picture", state.images) if fresh else 0
        images = state.sampler().sample(rows * columns, seed)
        pictures.save_png(self.run / runlog.SAMPLES / _file(state), pictures.grid(images, columns))
        self.drawn_at = state.images

    def frame(self, state: State) -> None:
        """Draw a frame of the time lapse: always the same latents."""
        images = state.sampler().sample(16)
        pictures.save_png(self.run / runlog.FRAMES / _file(state), pictures.grid(images))

    def finish(self, state: State) -> None:
        """Leave the last picture, the grid and the time lapse."""
        if self.drawn_at != state.images:
            self.picture(state)
        pictures.save_png(self.run / runlog.GRID, pictures.grid(state.sampler().sample(64)))
        self.frame(state)
        frames = sorted((self.run / runlog.FRAMES).glob("*.png"))
        pictures.save_time_lapse(self.run / runlog.TIMELAPSE, frames)


def _file(state: State) -> str:
    return f"{state.images:012d}.png"


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
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
        print("mulligan: finishing this step, then saving …", file=sys.stderr)

    for kind in kinds:
        signal.signal(kind, receive)
    try:
        yield received.is_set
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])
