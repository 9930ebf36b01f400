"""How a run shows itself in a terminal, and in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mulligan.calibration import Forecast
from mulligan.cli.doctor import summary
from mulligan.cli.wording import duration
from mulligan.errors import RunError, printable
from mulligan.loop import Progress
from mulligan.runlog import Row
from mulligan.state import State

BAR = 20  # columns
BESIDE = BAR + len("100%") + len("0:00:00") + 3  # what stands beside the text, and the gaps


def describe(state: State, note: str, forecast: Forecast | None = None) -> str:
    """Say in a few lines what will be trained on what, where, and for how long."""
    recipe, about = state.recipe, state.about_data
    colours, height, width = about.image_shape
    weights = [
        sum(p.numel() for p in net.parameters()) for net in (state.gan.generator, state.gan.discriminator)
    ]
    budget = f"{recipe.budget.images:,} images"
    budget += f", at most {recipe.budget.steps:,} steps" if recipe.budget.steps else ""
    budget += f", at most {recipe.budget.minutes:g} minutes" if recipe.budget.minutes else ""
    lines = [
        f"recipe:  {recipe.name}, {recipe.title}" if recipe.title else f"recipe:  {recipe.name}",
        f"data:    {about.name}, {about.images:,} images of {colours}×{height}×{width}",
        f"size:    generator {weights[0]:,} weights, discriminator {weights[1]:,}",
        *([f"told of: {state.conditions}"] if about.parts else []),
        f"budget:  {budget}, in batches of {recipe.data.batch}",
        f"device:  {state.device}, {state.mode}, seed {state.seed}",
    ]
    if forecast and forecast.seconds > 0:  # else it is resumed and its budget is spent
        rate, time = forecast.images_per_second, duration(forecast.seconds)
        lines.append(f"speed:   about {rate:,.0f} images/s, {time} {'to go' if state.images else 'in all'}")
    if forecast and forecast.note:
        lines.append(f"note:    {forecast.note}")
    return "\n".join(map(printable, ([f"note:    {note}"] if note else []) + lines))


@contextlib.contextmanager
def reading(quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show that a run is being got ready, and how much of its data is read, if anyone is looking."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        console=RichConsole(stderr=True),
        transient=True,
    )
    task = bar.add_task("getting ready", total=None)

    def show(done: int, total: int | None) -> None:
        over = total is not None and done >= total  # what look-alikes there are is found out afterwards
        bar.update(
            task,
            completed=None if over else done,
            total=None if over else total,
            description="getting ready" if over else "reading the data",
        )

    with bar:
        yield show


@contextlib.contextmanager
def timing(quiet: bool) -> Iterator[None]:
    """Show that updates are being timed, if anyone is looking."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with RichConsole(stderr=True).status("timing a few updates"):
        yield


def line(row: Row) -> str:
    """Print a row of the log as the tutorials do: step, losses, and what else was measured."""
    if "card" in row:
        return _card_line(row)
    text = (
        f"step {row['step']:>7,}  images {row['images']:>11,}  D loss {row['d_loss']:.4f}  "
        f"G loss {row['g_loss']:.4f}  D(real) {row['d_real']:.3f}  D(fake) {row['d_fake']:.3f}"
    )
    if "largest_pixel" in row:
        text += f"  largest pixel {row['largest_pixel']:.1f}"
    if "d_of_fake" in row:
        text += f"  D(G(z)) {row['d_of_fake']:.3f}"
    return f"{text}  {row['time']['images_per_second']:,.0f} images/s"


def _card_line(row: Row) -> str:
    """Print a light scorecard."""
    card = row["card"]
    text = f"card {row['images']:>24,} images"
    if "frechet" in card:
        text += f"  Fréchet distance {card['frechet']:.4g}"
        if card.get("frechet_floor"):
            text += f" (real images {card['frechet_floor']:.2g})"
        text += f"  precision {card['precision']:.2f}  recall {card['recall']:.2f}"
    if "modes" in card:
        text += f"  modes {card['modes']:g}  high quality {card['high_quality']:.1%}"
    if card.get("missing"):
        text += f"  missing classes: {', '.join(map(str, card['missing'][:10]))}"
    return text


class Plain:
    """Lines, for pipes and files; a run goes on when its reader has gone."""

    def __init__(self) -> None:
        self._said: str | None = None

    def begin(self, state: State, run: Path, note: str, forecast: Forecast | None = None) -> None:
        """Print what begins."""
        self._say(f"{describe(state, note, forecast)}\nrun:     {run}")

    def row(self, row: Row, progress: Progress) -> None:
        """Print a row, and what the doctor has to say when it changes."""
        kind = progress.verdict.kind if progress.verdict else None
        if kind != self._said:
            self._said = kind
            self._say(f"doctor:  {summary(progress.verdict)}" if progress.verdict else "doctor:  well again")
        if "vitals" not in row:
            self._say(line(row))

    def tick(self, progress: Progress) -> None:
        """Stay quiet between rows."""

    def end(self) -> None:
        """Nothing is left open."""

    @staticmethod
    def _say(text: str) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:
            pass
        except OSError as error:  # its own disk is full, say
            raise RunError(f"standard output cannot be written: {error.strerror}") from None


def fitting(progress: Progress, width: int) -> str:
    """Say where a run stands, beside a bar in a terminal so wide: what matters most, if not all fits."""
    parts = [f"{progress.images:,} images", f"{progress.images_per_second:,.0f}/s"]
    if progress.verdict is not None:
        parts.append(f"{progress.verdict.kind}!")
    if progress.frechet is not None:
        parts.append(f"Fréchet {progress.frechet:.3g}")
    parts.append(f"D {progress.d_loss:.3f} G {progress.g_loss:.3f}")
    parts.append(f"D(real) {progress.d_real:.2f} D(fake) {progress.d_fake:.2f}")
    text = ""
    for part in parts:
        longer = f"{text}  {part}" if text else part
        if len(longer) > width - BESIDE:
            break
        text = longer
    return text


class Live:
    """A progress bar, with the rows of the log above it."""

    def __init__(self) -> None:
        self._console = RichConsole(stderr=True)
        self._bar = Bar(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=BAR),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._task: TaskID | None = None

    @staticmethod
    def possible() -> bool:
        """Tell whether both streams are terminals."""
        return sys.stderr.isatty() and sys.stdout.isatty()

    def begin(self, state: State, run: Path, note: str, forecast: Forecast | None = None) -> None:
        """Print what begins and open the bar."""
        self._console.print(
            f"{describe(state, note, forecast)}\nrun:     {run}", highlight=False, markup=False
        )
        self._task = self._bar.add_task("", total=state.recipe.budget.images, text="starting …")
        self._bar.start()

    def row(self, row: Row, progress: Progress) -> None:
        """Print a row above the bar."""
        if "vitals" not in row:
            self._bar.console.print(line(row), highlight=False, markup=False)
        self.tick(progress)

    def tick(self, progress: Progress) -> None:
        """Move the bar."""
        assert self._task is not None
        self._bar.update(self._task, completed=progress.images, text=fitting(progress, self._console.width))

    def end(self) -> None:
        """Close the bar, leaving the terminal as it was."""
        self._bar.stop()
