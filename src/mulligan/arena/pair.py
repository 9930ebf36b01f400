"""Two runs side by side: what was changed between them, and what became of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from mulligan import recipe as recipes
from mulligan import runlog
from mulligan.errors import UserError
from mulligan.files import write_atomically
from mulligan.pictures import open_png


def table(a: Path, b: Path) -> list[list[str]]:
    """Return what became of two runs, a column each: light scorecards after as many images.

    Raises:
        UserError: one of them is no run, or is damaged.
    """
    runs = tuple(map(runlog.there, (a, b)))
    rows = [runlog.rows_so_far(run) for run in runs]
    found = [
        ["", *(run.name for run in runs)],
        ["recipe", *(recipes.read(run / runlog.RECIPE).name for run in runs)],
        ["data", *map(runlog.data_name, runs)],
        ["images", *(f"{some[-1]['images']:,}" if some else "0" for some in rows)],
    ]
    cards = [{row["images"]: row["card"]["frechet"] for row in runlog.cards(some)} for some in rows]
    for images in sorted(cards[0].keys() | cards[1].keys()):
        values = [f"{of[images]:.3g}" if images in of else "–" for of in cards]
        found.append([f"Fréchet distance at {images:,}", *values])
    return found


def changes(a: Path, b: Path) -> Iterator[str]:
    """Say in lines what was changed between two runs.

    Raises:
        UserError: one of them is no run, or is damaged.
    """
    for run in (a, b):
        if parent := runlog.parent(run):
            yield f"{run.name} is a second shot of {parent.run} at {parent.images:,} images"
    changed = recipes.differences(*(recipes.read(run / runlog.RECIPE) for run in (a, b)))
    yield from changed or ["their recipes are the same"]


def draw(path: Path, a: Path, b: Path) -> None:
    """Draw both runs' curves over images seen, and their grids, as a PNG.

    Raises:
        UserError: matplotlib is not installed, or one of them is no run.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise UserError("the picture needs an extra package: pip install 'mulligan[plot]'") from None
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 9), dpi=110, layout="constrained")
    for column, run in enumerate((a, b)):
        name = run.name.replace("$", r"\$")  # no formula
        rows = runlog.rows_so_far(run)
        cards = runlog.cards(rows)
        logged = [row for row in rows if "d_loss" in row and "g_loss" in row]
        distances = [row["card"]["frechet"] for row in cards]
        if cards:
            axes[0, 0].plot([row["images"] for row in cards], distances, marker=".", label=name)
            axes[0, 0].set_yscale("log")
        images, colour = [row["images"] for row in logged], f"C{column}"
        marker = "." if len(logged) == 1 else None  # or it would not be seen
        for loss, line, label in (("d_loss", "-", f"D, {name}"), ("g_loss", ":", "G")) if logged else ():
            values = [row[loss] for row in logged]
            axes[0, 1].plot(images, values, color=colour, marker=marker, linestyle=line, label=label)
        axes[1, column].set(title=name, xticks=[], yticks=[])
        if (run / runlog.GRID).is_file():
            try:
                axes[1, column].imshow(open_png(run / runlog.GRID), cmap="gray")
            except UserError:
                axes[1, column].set_xlabel(f"{runlog.GRID} is damaged")
    axes[0, 0].set(title="Fréchet distance, light scorecards", xlabel="images seen")
    axes[0, 1].set(title="losses", xlabel="images seen")
    for plot in axes[0]:
        if not plot.lines:
            plot.text(0.5, 0.5, "none yet", ha="center", va="center", transform=plot.transAxes)
            plot.set(xticks=[], yticks=[])
            continue
        plot.legend(fontsize=8)
        plot.grid(alpha=0.3)
        plot.xaxis.set_major_locator(MaxNLocator(4))
        plot.xaxis.set_major_formatter("{x:,.0f}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())
