"""Modes that a GAN forgets, on sets where they can be counted: PacGAN's ring and grid, and stacked digits.

    python benchmarks/modes.py ring-8 grid-25 --seeds 20
    python benchmarks/modes.py stacked-mnist --seeds 1 [--set KEY=VALUE …] [--minutes 10]

Trains `points` on the two mixtures and `swift` on stacked digits, one process after another, and judges them
as PacGAN does (Lin et al. 2018, arXiv 1712.04086, section 4): 2,500 points and 26,000 images. Runs that were
made are kept in --out and not made again; the page and the pictures are of all that is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import described
from speed import commit

import mulligan
from mulligan import data, hardware, scorecard
from mulligan.arena.results import interval

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
RECIPES = {"ring-8": "points", "grid-25": "points", "stacked-mnist": "swift"}
SAMPLES = {"ring-8": 2_500, "grid-25": 2_500, "stacked-mnist": 26_000}


def train(name: str, seed: int, minutes: float | None, overrides: list[str], out: Path) -> dict[str, Any]:
    """Train once and judge; keep a generator's points for the picture."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        mulligan.train(
            RECIPES[name],
            data=name,
            seed=seed,
            out=run,
            device="cpu",
            minutes=minutes,
            overrides=("samples.every=0", "card.every=0", "checkpoint.every=1000000000", *overrides),
        )
        seconds = time.monotonic() - start
        card = scorecard.evaluate(run, n=SAMPLES[name])
        model = mulligan.load(run)
        if name == "stacked-mnist":
            (out / "stacked-mnist.png").write_bytes((run / "grid.png").read_bytes())
        else:
            np.save(out / f"{name}-{seed}.npy", model.sample(20_000, seed=1).reshape(-1, 2))
    return {"seconds": seconds, "images": model.about.images, **described(card)}


def page(kept: list[dict[str, Any]]) -> str:
    """Return a table, a line a set."""
    lines = [
        "# Modes",
        "",
        "| set | seeds | seconds | images | all modes | high-quality share | reverse KL | real: share, KL |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in RECIPES:
        rows = [row for row in kept if row["name"] == name]
        if not rows:
            continue
        most = 1000 if name == "stacked-mnist" else int(name.partition("-")[2])
        whole = sum(row["card"]["modes"] == most for row in rows)
        kl = "mode_kl" if name == "stacked-mnist" else "reverse_kl"
        floor = rows[0]["floors"]
        lines.append(
            f"| {name} | {len(rows)} | {shown([r['seconds'] for r in rows])} | {rows[0]['images']:,} "
            f"| {whole} of {len(rows)} | {shown([r['card'].get('high_quality') for r in rows])} "
            f"| {shown([r['card'].get(kl) for r in rows])} "
            f"| {shown([floor.get('high_quality')])}, {shown([floor.get(kl)])} |"
        )
    made = sorted({f"`{row['command']}`, commit {row['commit']}, {row['machine']}" for row in kept})
    return "\n".join([*lines, "", "Made by:", "", *(f"- {line}" for line in made), ""])


def shown(values: list[float | None]) -> str:
    """Return a mean and half its 95 % interval."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean, half = interval(known)
    return f"{mean:.4g}" if half is None else f"{mean:.4g} ± {half:.2g}"


def figure(out: Path, path: Path) -> None:
    """Draw how densely points lie: the data's, and those of seed 0's generators."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 2, figsize=(7, 7), layout="constrained")
    for axes, name, reach in zip(grid, ("ring-8", "grid-25"), (1.3, 5.0), strict=True):
        drawn = [data.load(name).images[:20_000].reshape(-1, 2), np.load(out / f"{name}-0.npy")]
        for ax, points, title in zip(axes, drawn, (f"{name}: data", "`points`, seed 0"), strict=True):
            ax.hist2d(*points.T, bins=200, range=[[-reach, reach]] * 2, cmap="magma", norm="log")
            ax.set(title=title, xticks=[], yticks=[], aspect="equal", facecolor="black")
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", choices=[*RECIPES, []])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("modes"), help="folder of the runs' files")
    parser.add_argument("--page", type=Path, default=FIGURES / "modes.md")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True, parents=True)
    about = {
        "machine": f"{hardware.cpu_name()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}",
        "commit": commit(),
        "command": " ".join(["python benchmarks/modes.py", *sys.argv[1:]]),
    }
    for name in options.sets:
        for seed in range(options.seeds):
            path = options.out / f"{name}-{seed}.json"
            if path.exists():
                continue
            found = train(name, seed, options.minutes, options.set, options.out)
            path.write_text(json.dumps({"name": name, "seed": seed, **about, **found}), "utf-8")
            print(name, seed, f"{found['seconds']:.0f} s", found["card"], flush=True)
    kept = [json.loads(path.read_text("utf-8")) for path in sorted(options.out.glob("*.json"))]
    options.page.write_text(page(kept), "utf-8")
    if all((options.out / f"{name}-0.npy").exists() for name in ("ring-8", "grid-25")):
        figure(options.out, options.page.with_suffix(".png"))


if __name__ == "__main__":
    main()
