"""The training loop, top to bottom."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from mulligan import checkpoint, distributed, probes, vitals
from mulligan.checkpoint import Scores
from mulligan.doctor import Verdict
from mulligan.errors import RunError, first_line
from mulligan.recipe import Cadence, Recipe
from mulligan.runlog import Row, RunLog
from mulligan.schedules import due
from mulligan.state import State
from mulligan.step import Turn

TICK = 0.25  # seconds between two refreshes of the live progress
FRAMES = 40  # of the time lapse, over the budget
SHORT = 24  # examinations or frames of a run that is too short for as many as are wanted:
LONG = 100  # updates between two of them are enough
UNSEEN = 64  # updates that another device may be ahead of what has been looked at
INTERRUPTED, TIME_UP, ASKED = "interrupted", "the time is up", "the caller asked to stop"
PAUSES = (INTERRUPTED, TIME_UP, ASKED)  # after these a run is meant to go on

STOPS: dict[str, Callable[[Any, State, dict[str, float]], str | None]] = {
    "none": lambda _rule, _state, _measured: None,
    "d-of-fake": probes.d_of_fake_stop,
    "plateau": probes.plateau_stop,
}


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        images: Reals that D has consumed, of ``budget``.
        budget: Reals that it will have consumed at the end.
        steps: Updates made.
        seconds: Time spent training.
        images_per_second: Over the last while.
        d_loss: D's loss in the last update.
        g_loss: G's.
        d_real: Mean D(x) of the last reals, in 0..1; the mean score where the objective has none.
        d_fake: Mean D(G(z)) of the last fakes, likewise.
        frechet: The Fréchet distance on the last light scorecard; None before the first.
        verdict: The worst that the doctor has to say; None where nothing is wrong.
    """

    images: int
    budget: int
    steps: int
    seconds: float
    images_per_second: float
    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float
    frechet: float | None = None
    verdict: Verdict | None = None


class Observer(Protocol):
    """Who watches a run; nothing an observer does changes training's bits."""

    def row(self, row: Row, progress: Progress) -> None:
        """See a row of the log."""

    def picture(self, state: State) -> None:
        """Draw what the recipe's ``samples`` asks for."""

    def card(self, state: State) -> Row:
        """Measure a light scorecard; empty where nothing can judge these images."""

    def frame(self, state: State) -> None:
        """Draw a frame of the time lapse."""

    def tick(self, progress: Progress) -> None:
        """Refresh what is live."""

    def asks_to_stop(self, progress: Callable[[], Progress]) -> str | None:
        """Say why the run should end now, or None; asked after every update."""


def train(state: State, run: Path, observer: Observer) -> str:
    """Train until the budget, a stop rule or the observer ends it; return why.

    Raises:
        RunError: a loss or a gradient is not finite; the last checkpoint is from before it.
        OSError: the disk took no more; the last checkpoint is whole.
    """
    recipe, budget = state.recipe, state.recipe.budget
    checkups, lapse, saves = examinations(recipe), frames(recipe), Cadence(every=recipe.checkpoint.every)
    cadences = (recipe.log, checkups, recipe.samples, lapse, recipe.card, saves)
    deadline = math.inf if budget.minutes is None else state.seconds + 60 * budget.minutes
    last_step = math.inf if budget.steps is None else budget.steps
    _begin(state, run)
    log, meter = RunLog(run), Meter(state)
    saved_at = carded_at = state.images
    looked = state.steps
    unspent = state.images < budget.images and state.steps < last_step
    reason = state.stopped or (None if unspent else "the budget was spent before: --images N goes on")
    try:
        while reason is None:
            # One update of both networks
            before = state.images
            state.advance()
            state.seconds = meter.seconds()

            # What is not finite ends the run before it can reach a checkpoint
            over = state.images >= budget.images or state.steps >= last_step
            at_hand = state.device.type == "cpu" or state.steps % UNSEEN == 0
            if at_hand or over or any(due(cadence, before, state.images) for cadence in cadences):
                looked = _end_if_not_finite(state, log, run, looked)

            # Log
            measured: dict[str, float] = {}
            logged = due(recipe.log, before, state.images)
            if logged and recipe.log.losses == "fresh":
                measured = probes.fresh_costs(state)
            reason = state.stopped = STOPS[recipe.stop.kind](recipe.stop, state, measured)
            if logged:
                progress = meter.progress(state)
                row = _row(progress, measured)
                log.write(row)
                observer.row(row, progress)

            # What the doctor reads; at the end as well, and before the checkpoint that may fall on it
            if checkups.every and (over or reason or due(checkups, before, state.images)):
                _examine(state, log, meter, observer)

            # Pictures
            if due(recipe.samples, before, state.images):
                observer.picture(state)
            if due(lapse, before, state.images):
                observer.frame(state)

            # Scorecard, and the best checkpoint by it
            if due(recipe.card, before, state.images):
                carded_at = state.images
                if _card(state, log, meter, observer):
                    log.sync()
                    checkpoint.keep_as_best(run, _save(state, run))
                    saved_at = state.images

            # Checkpoint
            if due(saves, before, state.images):
                log.sync()
                _save(state, run)
                saved_at = state.images

            # Is it over?
            if over:
                reason = reason or "the budget is spent"
            elif state.seconds >= deadline:
                reason = reason or TIME_UP
            else:
                reason = reason or observer.asks_to_stop(lambda: meter.progress(state))
            if meter.ticks():
                observer.tick(meter.progress(state))
        # Leave the last state behind, judged like the others
        _end_if_not_finite(state, log, run, looked)
        if checkups.every and reason == TIME_UP and not due(checkups, before, state.images):
            _examine(state, log, meter, observer, cut_off=True)
        is_best = False
        judged = 0 < recipe.card.every <= state.images and reason != INTERRUPTED
        if judged and carded_at != state.images:
            is_best = _card(state, log, meter, observer, cut_off=reason in PAUSES)
        if saved_at != state.images or is_best:
            log.sync()
            last = _save(state, run)
            if is_best:
                checkpoint.keep_as_best(run, last)
    finally:
        log.close()
    return reason


def follow(state: State) -> None:
    """Make an update whenever the leader of this process's group does, until it ends."""
    assert state.group
    while state.group.follow() == distributed.ADVANCE:
        state.advance()


class Meter:
    """Time spent and images per second; lives outside the state, for it changes no bits."""

    def __init__(self, state: State) -> None:
        self._start = time.monotonic() - state.seconds
        self._next_tick = 0.0
        self._window = (state.seconds, state.images)
        self._rate = 0.0
        self.frechet: float | None = None

    def seconds(self) -> float:
        """Time spent training by now, over all sessions."""
        return time.monotonic() - self._start

    def ticks(self) -> bool:
        """Tell whether it is time to refresh what is live."""
        seconds = self.seconds()
        if seconds < self._next_tick:
            return False
        self._next_tick = seconds + TICK
        return True

    def progress(self, state: State) -> Progress:
        """Measure the state, just after an update."""
        assert state.update is not None
        d, g = state.update.d, state.update.g
        assert d.real_logits is not None
        answer = state.gan.objective.probability or state.gan.objective.score
        seconds, images = self._window
        if state.seconds - seconds >= 1 or not self._rate:
            self._rate = (state.images - images) / max(state.seconds - seconds, 1e-9)
            self._window = (state.seconds, state.images)
        return Progress(
            images=state.images,
            budget=state.recipe.budget.images,
            steps=state.steps,
            seconds=state.seconds,
            images_per_second=self._rate,
            d_loss=float(d.loss),
            g_loss=float(g.loss),
            d_real=float(answer(d.real_logits).mean()),
            d_fake=float(answer(d.fake_logits).mean()),
            frechet=self.frechet,
        )


def _row(progress: Progress, measured: dict[str, float]) -> Row:
    """One line of the log. What depends on the machine stands apart, under ``time``."""
    return {
        "images": progress.images,
        "step": progress.steps,
        "d_loss": progress.d_loss,
        "g_loss": progress.g_loss,
        "d_real": progress.d_real,
        "d_fake": progress.d_fake,
        **measured,
        "time": _time(progress),
    }


def _time(progress: Progress) -> Row:
    return {
        "seconds": round(progress.seconds, 3),
        "images_per_second": round(progress.images_per_second, 1),
    }


def examinations(recipe: Recipe) -> Cadence:
    """As many as the recipe wants over its budget, but few: each costs as much as three to six updates."""
    return _spread(recipe, recipe.log.examinations, apart=25)


def frames(recipe: Recipe) -> Cadence:
    """The time lapse: each costs as much as an update."""
    return _spread(recipe, FRAMES, apart=1)


def _spread(recipe: Recipe, most: int, apart: int) -> Cadence:
    """Spread ``most`` moments over the budget; in a short run fewer, at least ``apart`` updates apart."""
    if not most:
        return Cadence(every=0)
    update, images = recipe.data.batch * recipe.step.d_steps, recipe.budget.images
    least = min(max(apart * update, images // SHORT), LONG * update)
    return Cadence(every=max(1, least, images // most), counts="from-zero", most=most)


def _examine(state: State, log: RunLog, meter: Meter, observer: Observer, *, cut_off: bool = False) -> None:
    """Log the run's vital signs; nothing that goes wrong with them may harm the run.

    A row of a moment at which the run was ``cut_off`` says so, and goes when the run goes on.
    """
    progress = meter.progress(state)
    try:
        signs = vitals.examine(state)
    except Exception as error:
        signs = {"failed": f"{type(error).__name__}: {first_line(error)}"}
    row = {"images": state.images, "step": state.steps, "vitals": signs, "time": _time(progress)}
    row |= {"cut_off": True} if cut_off else {}
    log.write(row)
    observer.row(row, progress)


def _card(state: State, log: RunLog, meter: Meter, observer: Observer, *, cut_off: bool = False) -> bool:
    """Log a light scorecard, and tell whether no earlier one was as good.

    One of a moment at which the run was ``cut_off`` goes when the run goes on, and counts for nothing in it.
    """
    card = observer.card(state)
    if not card:
        return False
    progress = meter.progress(state)
    row = {"images": state.images, "step": state.steps, "card": card, "time": _time(progress)}
    row |= {"cut_off": True} if cut_off else {}
    log.write(row)
    if "frechet" not in card:
        observer.row(row, progress)
        return False
    frechet, low = float(card["frechet"]), float(card["frechet_low"])
    observer.row(row, replace(progress, frechet=frechet))
    meter.frechet = frechet
    if cut_off:
        return False
    before = state.scores
    state.scores = (
        before.after(state.images, frechet, low)
        if before
        else Scores(images=state.images, frechet=frechet, bar=low)
    )
    return state.scores.images == state.images


def _begin(state: State, run: Path) -> None:
    """Save the first state of a run, or finish what a kill left undone after the last one was saved."""
    if not checkpoint.history(run):
        _save(state, run)
    if state.scores and state.scores.images == state.images:
        checkpoint.keep_as_best(run, checkpoint.history(run)[-1])
    checkpoint.thin(run, state.recipe.checkpoint.keep)


def _save(state: State, run: Path) -> Path:
    path = checkpoint.write(run, state.tensors(), state.meta())
    checkpoint.thin(run, state.recipe.checkpoint.keep)
    return path


def _end_if_not_finite(state: State, log: RunLog, run: Path, looked: int) -> int:
    """End a run that has gone beyond numbers since somebody last looked, after ``looked`` updates.

    Returns:
        The updates there are now.

    Raises:
        RunError: it has.
    """
    health, state.health = state.health, None
    if health is None or math.isfinite(float(health)):
        return state.steps
    assert state.update is not None
    own = not math.isfinite(float(state.update.health))
    culprit = first_not_finite(state) if own else "a number of an earlier update"
    row = {"images": state.images, "step": state.steps, "not_finite": culprit}
    since = state.steps - looked
    log.write(row if since == 1 else {**row, "within": since})
    when = f"step {state.steps:,}" if since == 1 else f"the {since} steps up to {state.steps:,}"
    raise RunError(
        f"{when}: {culprit} is not finite; the last checkpoint is from before it; "
        f"`mulligan doctor {shlex.quote(str(run))}` says what to change"
    )


def first_not_finite(state: State) -> str:
    """Name the first tensor of the last update, which has one, with a NaN or an infinity, as computed."""
    assert state.update is not None
    gan, (d, g) = state.gan, (state.update.d, state.update.g)
    assert d.real_logits is not None
    candidates: list[tuple[str, Tensor]] = [
        ("D's answer to the reals", d.real_logits),
        ("D's answer to the fakes", d.fake_logits),
        ("D's loss", d.loss),
        *_named_gradients("discriminator", gan.discriminator, d, gan.d_optimizer),
        ("D's answer to G's fakes", g.fake_logits),
        ("G's loss", g.loss),
        *_named_gradients("generator", gan.generator, g, gan.g_optimizer),
    ]
    return next(
        (name for name, tensor in candidates if not bool(tensor.isfinite().all())), "the gradients' norm"
    )


def _named_gradients(
    prefix: str, network: nn.Module, turn: Turn, optimizer: Optimizer
) -> list[tuple[str, Tensor]]:
    """Name a network's gradients; where an update kept them to itself, their means, which they spoil."""
    gradients = turn.gradients or [optimizer.state[p]["exp_avg"] for p in network.parameters()]
    names = (name for name, _ in network.named_parameters())
    return [
        (f"the gradient of {prefix}.{name}", tensor) for name, tensor in zip(names, gradients, strict=True)
    ]
