"""``mulligan train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mulligan.training import Plan, Run
    from mulligan.watching import Console


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or a TOML file; see `mulligan recipes`.")
    ] = "swift",
    data: Annotated[
        str,
        typer.Option(help="auto, a set that `mulligan data` lists, a folder of images or an .npz file."),
    ] = "auto",
    size: Annotated[int | None, typer.Option(min=8, max=128, help="Resize images to S×S pixels.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Budget: real images shown to D.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget: updates.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Cut off after so many minutes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same machine, same bits.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run directory, new or empty.  [default: runs/<date>-<recipe>-<n>]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, the fastest here; exact, float32; or bf16, bfloat16 products.")
    ] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."),
    ] = None,
    second_shots: Annotated[
        int,
        typer.Option(min=0, max=20, help="Where a run is ill, retry with the doctor's advice, so often."),
    ] = 0,
    no_stop: Annotated[bool, typer.Option("--no-stop", help="Ignore the recipe's stop rule.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write DIR/tensorboard (needs mulligan[track]).")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, train nothing.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the run directory.")
    ] = False,
) -> int:
    """Train a GAN; leave pictures, a log and checkpoints in a run directory."""
    from mulligan import distributed, hardware, resuming, training
    from mulligan.cli.console import describe, reading, timing
    from mulligan.errors import UserError
    from mulligan.runlog import check_unused

    if minutes is not None and not minutes > 0:
        raise UserError(f"--minutes {minutes:g}: must be above 0")
    if begun := None if dry_run else _begun_before(out, device):
        left = None if minutes is None else max(minutes - resuming.minutes_spent(begun), 1e-6)
        again = resuming.resume(begun, minutes=left, device=device, consoles=_consoles(quiet, tensorboard))
        return _report(again, quiet)
    if out is not None:
        check_unused(out)  # before anything that takes its time
    if second_shots and distributed.join(hardware.device(device)):
        raise UserError("--second-shots: not under torchrun: `mulligan retry` takes one afterwards")
    overrides = (*(set_ or ()), *(['stop={kind="none"}'] if no_stop else ()))
    with reading(quiet) as on_data:
        plan = training.prepare(
            recipe,
            data=data,
            size=size,
            images=images,
            steps=steps,
            minutes=minutes,
            seed=seed,
            device=device,
            overrides=overrides,
            on_data=on_data,
        )
    with timing(quiet):
        plan = training.tuned(plan, precision)
    if dry_run:
        if distributed.leads():
            print(describe(plan.state, plan.note, plan.forecast))
        return 0
    return _carried_out(plan, out, second_shots, quiet, tensorboard)


def resume(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run directory.", show_default=False)],
    images: Annotated[
        int | None, typer.Option(min=1, help="A new budget, from the run's start.  [default: the original]")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop again after so many minutes.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if not where it was.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="As in train.  [default: as before, bit for bit]")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although recipe.toml or the data have changed.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="As in train.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="As in train.")] = False,
) -> int:
    """Go on with a run from its last checkpoint, bit for bit as if it had never ended."""
    from mulligan import resuming

    finished = resuming.resume(
        run,
        images=images,
        minutes=minutes,
        data=data,
        device=device,
        precision=precision,
        accept_changes=accept_changes,
        consoles=_consoles(quiet, tensorboard),
    )
    return _report(finished, quiet)


def retry(
    run: Annotated[
        Path, typer.Argument(metavar="DIR", help="The run directory to go back in.", show_default=False)
    ],
    from_: Annotated[
        int | None,
        typer.Option(
            "--from",
            min=0,
            metavar="IMAGES",
            help="The last checkpoint at or before that.  [default: before the onset, or the best]",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="A new budget, from the start.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the data is now, if not where it was.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory, new or empty.  [default: runs/<date>-<recipe>-<n>]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="As in train.  [default: as before]")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="As in train.")] = False,
) -> int:
    """Take a second shot: back to a good checkpoint, change something, go on in a new run."""
    from mulligan import retrying

    finished = retrying.retry(
        run,
        from_images=from_,
        overrides=tuple(set_ or ()),
        images=images,
        data=data,
        out=out,
        device=device,
        precision=precision,
        consoles=_consoles(quiet, False),
    )
    return _report(finished, quiet)


def _carried_out(plan: Plan, out: Path | None, second_shots: int, quiet: bool, tensorboard: bool) -> int:
    """Train, take second shots as long as the doctor finds the run ill, and report."""
    from mulligan import retrying, training
    from mulligan.errors import RunError
    from mulligan.loop import PAUSES

    def tell(message: str) -> None:
        print(f"mulligan: {message}", file=sys.stderr)

    def again(run: Path) -> list[Run]:
        return retrying.second_shots(
            run,
            second_shots,
            out=out,
            device=str(plan.device),
            consoles=lambda: _consoles(quiet, False),
            tell=tell,
        )

    try:
        run = training.execute(plan, out, consoles=_consoles(quiet, tensorboard), gives_up=second_shots > 0)
    except RunError as error:
        if not second_shots or error.run is None:
            raise
        tell(str(error))
        made = again(error.run)
        return _report(made[-1], quiet) if made else 1
    if not second_shots or run.reason in PAUSES:
        return _report(run, quiet)
    code = 0 if quiet else _report(run, quiet)
    made = again(run.directory)
    return _report(made[-1] if made else run, quiet) if made or quiet else code


def _begun_before(out: Path | None, device: str) -> Path | None:
    """Return the run to go on with, where ``torchrun`` has started this training again."""
    from mulligan import distributed, hardware, runlog

    group = distributed.join(hardware.device(device))
    if group is None:
        return None
    begun = runlog.of_launch(group.launch, out) if group.rank == 0 else None
    begun_as = group.share(str(begun.absolute()) if begun else "")
    return Path(begun_as) if begun_as else None


def _consoles(quiet: bool, tensorboard: bool) -> list[Console]:
    from mulligan.distributed import leads

    consoles: list[Console] = []
    if not leads():
        return consoles
    if not quiet:
        from mulligan.cli.console import Live, Plain

        consoles.append(Live() if Live.possible() else Plain())
    if tensorboard:
        from mulligan.tracking import TensorBoard

        consoles.append(TensorBoard())
    return consoles


def _report(run: Run, quiet: bool) -> int:
    from mulligan.distributed import leads
    from mulligan.loop import PAUSES

    if not leads():
        return 0
    if quiet:
        print(run.directory)
    else:
        print(f"{run.reason}: {run.steps:,} steps, {run.images:,} images in {run.seconds:.1f} s")
        print(
            f"pictures:  {run.directory}/grid.png, {run.directory}/timelapse.webp, {run.directory}/samples/"
        )
        if run.report:
            print(f"report:    {run.report}")
    if run.interrupted:
        go_on = f"go on:     mulligan resume {shlex.quote(str(run.directory))}"
        print(go_on, file=sys.stderr if quiet else sys.stdout)
        return 130
    if not quiet:
        more = shlex.quote(str(run.directory))
        if run.reason in PAUSES:
            print(f"go on:     mulligan resume {more}")
        for line in _next_steps(run):
            print(line)
        _tell_verdicts(run.directory)
    return 0


def _next_steps(run: Run) -> list[str]:
    """Return what to do with a run now, in commands that suit what it was trained on."""
    from mulligan import scorecard

    model, where = run.model(), shlex.quote(str(run.directory))
    about, file = model.about.data, "points.npz" if model.makes_points else "images.png"
    steps = [f"more:      mulligan generate {where} -n 64 --out {file}"]
    heads = ["judge it:  ", "           "]
    judging = zip(heads, scorecard.how_to_judge(about, where), strict=False)
    return [*steps, *(head + command for head, command in judging)]


def _tell_verdicts(run: Path) -> None:
    """Say in a few lines what the doctor thinks."""
    from mulligan import doctor
    from mulligan.cli.doctor import summary

    found = doctor.examine(run).verdicts
    for verdict in found:
        print(f"doctor:    {summary(verdict)}")
    if found:
        print(f"why:       mulligan doctor {shlex.quote(str(run))}")
