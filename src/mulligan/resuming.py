"""Going on with a run that has ended, been interrupted or been killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from mulligan import checkpoint, distributed, runlog
from mulligan import recipe as recipes
from mulligan.checkpoint import AboutData, Checkpoint
from mulligan.data.dataset import Dataset
from mulligan.errors import Place, UserError, check_callable, place
from mulligan.files import write_atomically
from mulligan.loop import Progress
from mulligan.recipe import Recipe
from mulligan.training import Plan, Run, carry_out, follow, prepare, tuned, with_budget
from mulligan.watching import Callback, Console


def resume(
    run: Place,
    *,
    images: int | None = None,
    minutes: float | None = None,
    data: str | Path | Dataset | None = None,
    device: str = "auto",
    precision: str | None = None,
    accept_changes: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[Progress], bool] | None = None,
    consoles: Sequence[Console] = (),
) -> Run:
    """Go on with a run from its last checkpoint, as if it had never ended.

    On one machine the weights, the log and the pictures come out bit for bit as without the
    interruption.

    Args:
        run: The run directory.
        images: A new budget, in images from the start of the run; by default the original one.
        minutes: Stop again after so many minutes.
        data: Where the data is now, if not where it was.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: As in ``train``; by default as before, which keeps the bits.
        accept_changes: Go on although ``recipe.toml`` or the data have changed.
        on_progress: As in ``train``.
        should_stop: As in ``train``.
        consoles: What shows the run.

    Raises:
        UserError: there is nothing to go on from, or something has changed.
        RunError: the run could not go on; its last checkpoint is whole.
    """
    consoles = [*consoles, *([Callback(on_progress)] if on_progress else [])]
    check_callable(should_stop, "should_stop")
    directory = Path(place(run, "run"))
    if checkpoint.find(directory) == directory:
        raise UserError(f"{directory}: resume takes the run directory, not one of its checkpoints")
    with runlog.lock(directory) if distributed.leads() else nullcontext():
        saved = checkpoint.read(checkpoint.find(directory))
        recipe = _resumed_recipe(directory, saved, accept_changes)
        recipe = with_budget(recipe, images, None, minutes, cut_off=False)
        if images is not None and images < saved.meta.images:
            raise UserError(f"--images {images}: {directory} has already seen {saved.meta.images}")
        plan = plan_again(directory, saved, recipe, data, device)
        if (changed := changed_data(saved.meta.data, plan.state.about_data)) and not accept_changes:
            raise UserError(f"{directory}: {changed}: --accept-changes goes on all the same")
        plan.state.restore(saved)
        plan = tuned(plan, precision or "auto", mode=None if precision else saved.meta.mode)
        if images is not None or recipe.stop.kind == "none":
            plan.state.stopped = None  # asked to go on
        if not distributed.leads():
            return follow(plan, directory)
        try:
            runlog.rewind(directory, saved.meta.images)
            write_atomically(directory / runlog.RECIPE, recipe.to_toml().encode())
        except OSError as error:
            raise UserError(f"{directory}: cannot be written: {error.strerror}") from None
        return carry_out(plan, directory, consoles, should_stop)


def plan_again(
    run: Path, saved: Checkpoint, recipe: Recipe, data: str | Path | Dataset | None, device: str
) -> Plan:
    """Plan by a recipe, from the start, on the data of a run's checkpoint, or where that is now.

    Raises:
        UserError: as ``prepare`` does, or the data was handed over in Python.
    """
    about = saved.meta.data
    if data is None and about.source is None:
        raise UserError(f"{run}: was trained on images handed over in Python: say which with data=…")
    source = data or about.source or ""
    return prepare(recipe, data=source, size=about.size, seed=saved.meta.seed, device=device)


def changed_data(before: AboutData, now: AboutData) -> str:
    """Say in what the data is not what a checkpoint knew; empty where it is."""
    if before.sha256 != now.sha256:
        return f"its data has changed: {before.name} had sha256 {before.sha256[:12]}…, now {now.sha256[:12]}…"
    if before.parts and before.parts != now.parts:
        return f"the groups that its networks were told of ({before.name} by k-means) come out otherwise now"
    return ""


def minutes_spent(run: Path) -> float:
    """Return how long a run had trained when its last checkpoint was written."""
    return checkpoint.read(checkpoint.find(run)).meta.seconds / 60


def _resumed_recipe(run: Path, saved: Checkpoint, accept_changes: bool) -> Recipe:
    """Return the recipe to go on with: the checkpoint's, unless a changed recipe.toml is accepted."""
    before = recipes.from_dict(saved.meta.recipe, f"{saved.path}: its recipe")
    now = recipes.read(run / runlog.RECIPE)
    changed = recipes.differences(before, now)
    if changed and not accept_changes:
        raise UserError(
            f"{run / runlog.RECIPE}: has changed since the checkpoint: {changed[0]}: "
            "--accept-changes goes on with the changed recipe"
        )
    return now
