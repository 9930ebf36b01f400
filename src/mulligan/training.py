"""Training from end to end: recipe → build → loop → run directory, and what watches it.

The room is called ``training`` because ``mulligan.train`` is the function.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from mulligan import calibration, checkpoint, distributed, hardware, loop, reporting, runlog, scorecard, state
from mulligan import data as data_room
from mulligan import recipe as recipes
from mulligan.calibration import Forecast
from mulligan.data.dataset import Dataset
from mulligan.errors import RunError, UserError, check_callable, nearest, whole
from mulligan.hardware import Mode
from mulligan.loop import INTERRUPTED, PAUSES, Progress
from mulligan.model import Model, load
from mulligan.recipe import Recipe
from mulligan.sampler import Images
from mulligan.state import State
from mulligan.watching import Callback, Console, Observer, signals

MAX_SEED = 10**15


@dataclass(frozen=True)
class Plan:
    """A run that has been checked from end to end and built, before anything is written.

    Attributes:
        state: Both networks and their data, at the first moment.
        device: Where it will compute.
        dataset: What it will be trained on.
        note: A sentence for the user where something was chosen for them, else empty.
        forecast: How it will be computed and how fast, once ``tuned``.
    """

    state: State
    device: torch.device
    dataset: Dataset
    note: str
    forecast: Forecast | None = None

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
        report: The page that says what it came to; None where it could not be written.
    """

    directory: Path
    reason: str
    images: int
    steps: int
    seconds: float
    interrupted: bool
    report: Path | None = None

    def __fspath__(self) -> str:
        """Return the directory, so that a run can be handed to whatever takes one."""
        return str(self.directory)

    def model(self) -> Model:
        """Load the generator of the last checkpoint."""
        return load(self.directory)

    def sample(self, n: int, seed: int = 0) -> Images:
        """Draw images 0..n-1 of a seed from the last checkpoint: uint8 ``[n, C, H, W]``."""
        return self.model().sample(n, seed)


def prepare(
    recipe: str | Path | Recipe = "swift",
    *,
    data: str | Path | Dataset = "auto",
    size: int | None = None,
    images: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    on_data: Callable[[int, int | None], None] | None = None,
) -> Plan:
    """Resolve and check everything a run needs; see ``train`` for the arguments.

    ``on_data`` is called with (done, in all or None) while data is fetched or decoded.

    Raises:
        UserError: anything that would keep the run from starting.
    """
    where = hardware.device(device)
    seed = whole(seed, "--seed", 0, MAX_SEED)
    if isinstance(recipe, Recipe):
        resolved = recipes.from_dict(recipes.overridden(recipe.model_dump(exclude_none=True), overrides))
    else:
        resolved = recipes.read(recipe, overrides)
    resolved = with_budget(resolved, images, steps, minutes)
    if isinstance(data, Dataset):
        dataset, source = data_room.resized(data, size), None
    else:
        if not isinstance(data, str | Path):
            raise UserError(
                f"data: expected a path, a set's name or a Dataset, got {type(data).__name__}: "
                "mulligan.data.Dataset takes arrays"
            )
        dataset = data_room.load(str(data), size=size, default_size=resolved.data.size, progress=on_data)
        source = source_of(str(data), dataset.name)
    group = distributed.join(where)
    where = group.device if group else where
    begun = state.begin(resolved, dataset, source=source, size=size, seed=seed, device=where, group=group)
    checkpoint.header_of(begun.meta())  # what could not be saved is refused before anything is written
    return Plan(begun, where, dataset, " ".join(filter(None, (dataset.note, begun.conditions.note))))


def tuned(plan: Plan, precision: str = "auto", *, mode: Mode | None = None) -> Plan:
    """Choose the fastest way to compute a plan on this machine, by timing a few updates.

    Args:
        plan: Its state comes out as it went in.
        precision: ``auto``; ``exact``, float32 throughout; or ``bf16``, bfloat16 products.
        mode: To be taken as it is.

    Raises:
        UserError: no such precision.
    """
    if precision not in ("auto", *hardware.PRECISIONS):
        raise UserError(
            f"--precision {precision} is not known{nearest(str(precision), ['auto', *hardware.PRECISIONS])}"
        )
    kept: hardware.Precision | None = next((p for p in hardware.PRECISIONS if p == precision), None)
    if plan.state.group:  # not timed: all processes must compute alike
        plan.state.use(Mode((mode.precision if mode else kept) or "exact"))
        return plan
    return replace(plan, forecast=calibration.choose(plan.state, kept, mode))


def train(
    recipe: str | Path | Recipe = "swift",
    *,
    data: str | Path | Dataset = "auto",
    size: int | None = None,
    images: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    overrides: tuple[str, ...] = (),
    on_progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[Progress], bool] | None = None,
) -> Run:
    """Train a GAN and leave a run directory behind.

    Args:
        recipe: A recipe's name, a TOML file, or a ``Recipe``.
        data: ``auto``, ``mnist``, ``mnist-synth``, another name of ``data.DATASETS``, a folder of images,
            an ``.npz`` file, or a ``Dataset``.
        size: Resize all images to size × size pixels.
        images: Budget in real images shown to D, instead of the recipe's.
        steps: Budget in updates; the sooner of the two ends the run.
        minutes: Cut the run off after so many minutes; schedules still follow the images.
        seed: The same seed on the same machine gives the same bits.
        out: The run directory, new or empty; ``runs/<date>-<recipe>-<n>`` by default.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, the fastest here; ``exact``, float32; or ``bf16``, bfloat16 products.
        overrides: ``path.to.key=value`` changes to the recipe.
        on_progress: Called about four times a second and with every row of the log.
        should_stop: Asked after every update; True ends the run as a full budget would.

    Returns:
        The finished run.

    Raises:
        UserError: the input cannot be used; nothing was written.
        RunError: the run could not go on; its last checkpoint is whole.
    """
    directory = runlog.wanted(out)  # refused before anything that takes its time
    consoles = [Callback(on_progress)] if on_progress else []
    check_callable(should_stop, "should_stop")
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
    return execute(tuned(ready, precision), directory, consoles=consoles, should_stop=should_stop)


def execute(
    plan: Plan,
    out: Path | None,
    *,
    consoles: Sequence[Console] = (),
    should_stop: Callable[[Progress], bool] | None = None,
    furnish: Callable[[Path], object] | None = None,
    gives_up: bool = False,
) -> Run:
    """Carry out a plan in a new run directory, which ``furnish`` may put something into before.

    With ``gives_up`` a run that the doctor holds for lost ends early.

    SIGINT and SIGTERM end it after the current update, with a checkpoint. Of several processes that
    train together the leader alone writes, and the others follow it.

    Raises:
        UserError: the run directory cannot be made.
        RunError: the run could not go on; its last checkpoint is whole.
    """
    group = plan.state.group
    if group and group.rank > 0:
        return follow(plan, Path(group.share()))
    run = runlog.create(out, plan.recipe)
    if group:
        group.share(str(run.absolute()))
    with runlog.lock(run):
        environment = hardware.environment(plan.device)
        about = plan.state.about_data.model_dump(mode="json")
        computed = {**asdict(plan.state.mode), "processes": group.world if group else 1}
        if group:
            computed["launch"] = group.launch
        try:
            runlog.describe(
                run, plan.recipe, {**environment, **computed, "seed": plan.state.seed, "data": about}
            )
            if furnish:
                furnish(run)
        except OSError as error:
            raise RunError(f"{run}: cannot be written: {error.strerror}") from None
        return carry_out(plan, run, consoles, should_stop, gives_up)


def carry_out(
    plan: Plan,
    run: Path,
    consoles: Sequence[Console],
    should_stop: Callable[[Progress], bool] | None,
    gives_up: bool = False,
) -> Run:
    """Train in a run directory that is there, from the plan's state on; see ``execute``."""
    state = plan.state
    try:
        with signals() as signalled, ExitStack() as ending:
            for console in consoles:
                console.begin(state, run, plan.note, plan.forecast)
                ending.callback(console.end)
            observer = Observer(
                run, plan.recipe, consoles, should_stop, signalled, scorecard.Light(plan.dataset), gives_up
            )
            reason = loop.train(state, run, observer)
            if state.group:
                state.group.lead(distributed.END)
            observer.finish(state, paused=reason in PAUSES)
            report = reporting.leave(run, plan.dataset)
    except RunError as error:
        error.run = run
        if not state.group:  # whose other processes are waiting for this one to say what is wrong
            reporting.leave(run, plan.dataset)  # now more than ever
        raise
    except OSError as error:
        resume = f"the last checkpoint is whole; `mulligan resume {shlex.quote(str(run))}` goes on from it"
        then = resume if checkpoint.history(run) else "nothing was saved yet"
        raise RunError(f"{run}: cannot be written: {error.strerror or error}: {then}") from None
    return Run(run, reason, state.images, state.steps, state.seconds, reason == INTERRUPTED, report)


def follow(plan: Plan, run: Path) -> Run:
    """Train as the leader of this process's group says, until it ends."""
    with signals():  # the leader decides when to end
        loop.follow(plan.state)
    state = plan.state
    return Run(run, "the leader has ended", state.images, state.steps, state.seconds, interrupted=False)


def source_of(data: str, name: str) -> str:
    """Say where a resumed run, started from anywhere, finds the same data again."""
    if data == "auto":
        return name  # what auto chose: elsewhere it may choose another set
    return data if data in data_room.DATASETS else str(Path(data).expanduser().absolute())


def with_budget(
    recipe: Recipe, images: int | None, steps: int | None, minutes: float | None, *, cut_off: bool = True
) -> Recipe:
    """Lay the caller's budget over the recipe's; schedules and the time lapse follow its images.

    Without ``cut_off`` the recipe's own minutes no longer count: they cut off an earlier session.
    """
    budget = recipe.budget.model_dump(exclude=set() if cut_off else {"minutes"})
    if steps is not None:
        steps = whole(steps, "budget.steps", 1)
        budget |= {"steps": steps, "images": steps * recipe.data.batch * recipe.step.d_steps}
    if images is not None:
        budget |= {"images": whole(images, "budget.images", 1)} | (
            {} if steps is not None else {"steps": None}
        )
    if minutes is not None:
        budget |= {"minutes": minutes}
    return recipes.from_dict({**recipe.model_dump(), "budget": budget}, recipe.name)
