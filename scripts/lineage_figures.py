"""Draw the pictures of docs/lineage.md from the run directories of the five tutorials.

    python scripts/lineage_figures.py RUNS docs/pictures

RUNS holds one run directory per tutorial, named like the recipe. Needs the extra `plot`:
pip install 'mulligan[plot]'.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from mulligan import recipe, runlog
from mulligan.checkpoint import history

TUTORIALS = ("mlp-relu", "mlp-tanh", "dcgan-softmax", "mlp-batchnorm", "mlp-smooth")


def curves(run: Path, out: Path) -> None:
    """Losses above, D's mean answers below, over images seen."""
    rows = runlog.rows(run)
    images = [row["images"] for row in rows]
    figure, (losses, answers) = plt.subplots(2, 1, figsize=(6, 4.2), sharex=True, layout="constrained")
    losses.plot(images, [row["d_loss"] for row in rows], label="D loss", lw=1)
    losses.plot(images, [row["g_loss"] for row in rows], label="G loss", lw=1)
    answers.plot(images, [row["d_real"] for row in rows], label="mean D(real)", lw=1)
    answers.plot(images, [row["d_fake"] for row in rows], label="mean D(fake)", lw=1)
    answers.axhline(0.5, color="grey", lw=0.5, ls=":")
    answers.set(xlabel="images seen", ylim=(0, 1))
    for axes in (losses, answers):
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    losses.set_title(run.name, fontsize=10, loc="left")
    figure.savefig(out, dpi=110)
    plt.close(figure)


def summary(run: Path) -> str:
    """One line: steps, time, the last row of the log, and the checkpoint it ended on."""
    last = runlog.rows(run)[-1]
    seconds = last["time"]["seconds"]
    return (
        f"{run.name}: {last['step']:,} steps, {last['images']:,} images by {seconds:.1f} s, "
        f"D {last['d_loss']:.2f}, G {last['g_loss']:.2f}, D(real) {last['d_real']:.2f}, "
        f"D(fake) {last['d_fake']:.2f}; {history(run)[-1].name}"
    )


def main(runs: Path, out: Path) -> None:
    """Draw every tutorial."""
    assert set(TUTORIALS) <= set(recipe.names())
    out.mkdir(parents=True, exist_ok=True)
    for name in TUTORIALS:
        run = runs / name
        curves(run, out / f"{name}-curves.png")
        shutil.copy(run / runlog.GRID, out / f"{name}.png")
        last_picture = sorted((run / runlog.SAMPLES).glob("*.png"))[-1]
        shutil.copy(last_picture, out / f"{name}-last.png")
        print(summary(run))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
