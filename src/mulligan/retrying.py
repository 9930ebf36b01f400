"""The second shot: a new run that begins at an earlier moment of another, with something changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mulligan import checkpoint, doctor, runlog
from mulligan import recipe as recipes
from mulligan.checkpoint import Checkpoint
from mulligan.data.dataset import Dataset
from mulligan.errors import Place, RunError, UserError, place, whole
from mulligan.loop import PAUSES, Progress
from mulligan.resuming import changed_data, plan_again
from mulligan.training import Plan, Run, execute, tuned, with_budget
from mulligan.watching import Callback, Console

STRUCTURAL = ("objective.kind", "generator.", "discriminator.", "latent.", "condition.", "data.")


def retry(
    run: Place,
    *,
    from_images: int | None = None,
    overrides: tuple[str, ...] = (),
    images: int | None = None,
    data: str | Path | Dataset | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    consoles: Sequence[Console] = (),
    gives_up: bool = False,
) -> Run:
    """Go back to an earlier checkpoint of a run, change something, and go on from there in a new run.

    By default it is the last one before what the doctor finds first set in, or the start where the change is
    structural, such as of networks, latents or the objective; and its advice is the change.

    The new run has the other's log and pictures up to that moment, and ``parent.json`` says where it
    comes from. Where the networks that the change asks for have other weights than the checkpoint, it
    begins at the start. The run it comes from is left as it is.

    Args:
        run: The run directory to go back in.
        from_images: The last checkpoint at or before so many images; by default before the onset of what is
            wrong, and of a run that is well the best one, by the light scorecards.
        overrides: ``path.to.key=value`` changes to the recipe; by default all that the doctor's first verdict
            advises.
        images: A new budget, in images from the start.
        data: Where the data is now, if not where it was.
        out: The new run directory; ``runs/<date>-<recipe>-<n>`` by default.
        device: As in ``train``.
        precision: As in ``train``; by default as before.
        on_progress: As in ``train``.
        consoles: What shows the run.
        gives_up: Should it end as soon as the doctor holds it for lost?

    Raises:
        UserError: there is nothing to go back to, nothing changes, or the change cannot be.
        RunError: the run could not go on; its last checkpoint is whole.
    """
    directory = Path(place(run, "run"))
    if checkpoint.find(directory) == directory:
        raise UserError(f"{directory}: retry takes the run directory, not one of its checkpoints")
    new_run = runlog.wanted(out)
    ill = doctor.examine(directory).worst
    overrides = overrides or (ill.changes if ill else ())
    if not overrides:
        what = f"no change of the recipe cures {ill.kind}" if ill else "nothing is wrong with it"
        raise UserError(f"{directory}: {what}: --set KEY=VALUE says what to change")
    path, afresh = _chosen(directory, from_images, ill.onset_images if ill else None)
    saved = checkpoint.read(path)
    before = recipes.from_dict(saved.meta.recipe, f"{saved.path}: its recipe")
    now = recipes.from_dict(recipes.overridden(saved.meta.recipe, overrides))
    changes = recipes.differences(before, now)
    if not changes:
        raise UserError("retry: nothing changes, and the same run would come out: --set KEY=VALUE says what")
    now = with_budget(now, images, None, None)
    if ill and from_images is None:  # what another game has learnt is no good beginning for this one
        afresh = afresh or any(change.startswith(STRUCTURAL) for change in changes)
    begin = partial(plan_again, directory, saved, now, data, device)
    plan, where, why = _rewound(begin, saved, directory, afresh)
    if plan.state.images >= now.budget.images:
        raise UserError(
            f"{directory}: {where:,} images were seen there, the budget is {now.budget.images:,}: --images N"
        )
    begun = f"A second shot from {where:,} images of {directory}{why and f', for {why}'}"
    plan = replace(plan, note=f"{begun}: {'; '.join(changes)}.")
    as_before = None if precision or not where else saved.meta.mode
    plan = tuned(plan, precision or saved.meta.mode.precision, mode=as_before)
    return execute(
        plan,
        new_run,
        consoles=[*consoles, *([Callback(on_progress)] if on_progress else [])],
        furnish=lambda new: runlog.inherit(new, directory, where, changes),
        gives_up=gives_up,
    )


def second_shots(
    run: Place,
    most: int = 1,
    *,
    data: str | Path | Dataset | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    consoles: Callable[[], Sequence[Console]] = tuple,
    tell: Callable[[str], object] = print,
) -> list[Run]:
    """Take second shots, each of the one before, until the doctor finds a run well or has no advice.

    Args:
        run: The directory of a run that has ended, well or not.
        most: So many, at the most.
        data: As in ``retry``.
        out: The shots go to ``out``-2, ``out``-3 and so on; by default as in ``retry``.
        device: As in ``train``.
        consoles: Makes what shows a run.
        tell: Hears in a line why a shot failed, or could not be taken.

    Returns:
        The runs that have ended, the last one last; none where nothing was wrong.

    Raises:
        UserError: it is no run.
        RunError: the last shot could not go on.
    """
    made: list[Run] = []
    directory = Path(place(run, "run"))
    for shot in range(most := whole(most, "most", 0)):
        ill, last = doctor.examine(directory).worst, shot == most - 1
        if ill is None or not ill.changes:
            break
        where = None if out is None else f"{out}-{shot + 2}"
        try:
            made.append(
                retry(directory, data=data, out=where, device=device, consoles=consoles(), gives_up=not last)
            )
        except UserError as error:
            tell(f"no second shot: {error}")
            break
        except RunError as error:
            if error.run is None or last:
                raise
            tell(str(error))
            directory = error.run  # its log says why, and the doctor reads it
            continue
        directory = made[-1].directory
        if made[-1].reason in PAUSES:
            break
    return made


def _chosen(run: Path, images: int | None, onset: int | None) -> tuple[Path, bool]:
    """Return the checkpoint to go back to; and whether that is too late, and the start is meant."""
    history = checkpoint.history(run)
    if images is None and onset is None:
        best = run / checkpoint.FOLDER / checkpoint.BEST
        if not best.exists():
            raise UserError(f"{run}: no scorecard says which checkpoint was good: --from IMAGES says it")
        return best, False
    asked = max(0, (onset or 0) - 1) if images is None else whole(images, "from_images", 0)
    earlier = [path for path in history if int(path.stem) <= asked]
    if earlier:
        return earlier[-1], False
    if images is None:
        return history[0], True
    raise UserError(f"--from {images}: the first checkpoint of {run} is at {int(history[0].stem):,} images")


def _rewound(begin: Callable[[], Plan], saved: Checkpoint, run: Path, afresh: bool) -> tuple[Plan, int, str]:
    """Return a plan at the checkpoint's moment and its images; or at the start, and why it must be."""
    plan = begin()
    before, now = saved.meta.data, plan.state.about_data
    if before.sha256 != now.sha256:
        raise UserError(f"{run}: {changed_data(before, now)}: a second shot is at the same")
    if afresh:
        return plan, 0, ""
    if before.parts and before.parts != now.parts:
        return plan, 0, "its networks were told of other groups"
    try:
        plan.state.restore(saved)
    except UserError:
        return begin(), 0, f"the weights of {saved.path.name} do not fit the changed recipe"
    plan.state.stopped = plan.state.scores = None  # the new run's own
    return plan, plan.state.images, ""
