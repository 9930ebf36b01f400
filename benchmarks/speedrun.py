"""Seconds to good digits: how long a recipe trains until the mean Fréchet distance over seeds is below a bar.

    python benchmarks/speedrun.py swift --images 40000 --seeds 20

docs/speedrun.md has the rules and the record. All runs are of as many images, said beforehand: none is
stopped when it happens to be good. The clock runs from the loaded data to the last update, groups of
look-alikes included, compilation apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from scipy import stats
from speed import commit

from mulligan import data, hardware, recipe, scorecard, state
from mulligan.arena.results import interval
from mulligan.data.dataset import Dataset
from mulligan.hardware import Mode
from mulligan.scorecard import measure
from mulligan.state import State

FLOORS = 50  # the bar, in Fréchet distances between as many training images and the test set


def train(
    name: str, overrides: list[str], dataset: Dataset, images: int, seed: int, mode: Mode, device: str
) -> tuple[State, float, float]:
    """Return a run after so many images, its seconds, and those that compiling took."""
    start = time.perf_counter()
    run = state.begin(recipe.read(name, overrides), dataset, seed=seed, device=device)
    before = time.perf_counter()
    run.use(mode)
    run.advance()  # one of the two compiles
    _wait(device)
    first = time.perf_counter() - before
    while run.images < images:
        run.advance()
    _wait(device)
    whole = time.perf_counter() - start
    update = (whole - first) / max(run.steps - 1, 1)
    return run, whole - first + update, max(first - update, 0.0)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def distance(run: State, samples: int, device: str) -> float:
    """Return the Fréchet distance of images of the run's averaged generator, in floors."""
    reference = scorecard.find("mnist")
    judged = reference.evaluator.judge(run.sampler().sample(samples, seed=0), device)
    floor = reference.floor("frechet", samples)
    assert floor
    return measure.compare_lightly(judged, reference)["frechet"].value / floor


def row(kept: list[dict[str, float]], images: int, where: str) -> str:
    """Return the table's row: whether the bar is passed, and in how many seconds."""
    distances, seconds = [run["floors"] for run in kept], [run["seconds"] for run in kept]
    n = len(kept)
    p = float(stats.ttest_1samp(distances, FLOORS, alternative="less").pvalue) if n > 1 else 1.0
    middle, half = interval(seconds)
    cells = [
        where,
        f"{middle:.1f} ± {half or 0.0:.1f}",
        f"{statistics.mean(run['compiling'] for run in kept):.0f}",
        f"{images:,}",
        str(n),
        f"{statistics.mean(distances):.1f}",
        f"{max(distances):.1f}",
        f"{p:.1g}",
        "passed" if p < 0.01 else "not passed",
    ]
    return f"| {' | '.join(cells)} |"


HEAD = [
    "| machine | seconds | compiling | images | seeds | mean, floors | worst | p | |",
    "|---|--:|--:|--:|--:|--:|--:|--:|---|",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument(
        "--further", type=int, default=0, help="go on to so many images, to see that none fails"
    )
    parser.add_argument("--first", type=int, default=0, help="seed; the table is of all that are kept")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    modes = ["exact", "exact-compiled", "bf16", "bf16-compiled"]
    parser.add_argument("--mode", choices=modes, default="bf16-compiled")
    parser.add_argument("--samples", type=int, default=10_000, help="images judged")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("speedrun"), help="a folder, where seeds are kept")
    options = parser.parse_args()
    precision, _, compiled = options.mode.partition("-")
    mode = Mode(precision, compiled=bool(compiled))
    dataset = data.load("mnist")
    apart = ("seeds", "first", "out")
    what = {key: value for key, value in vars(options).items() if key not in apart} | {"commit": commit()}
    options.out.mkdir(parents=True, exist_ok=True)
    before = [json.loads(path.read_text("utf-8"))["what"] for path in sorted(options.out.glob("*.json"))]
    if other := next((each for each in before if each != what), None):
        sys.exit(f"{options.out}: holds seeds of {other}, not of {what}: name another folder")
    for seed in range(options.first, options.first + options.seeds):
        path = options.out / f"{seed}.json"
        if path.exists():
            continue
        run, seconds, compiling = train(
            options.recipe, options.set, dataset, options.images, seed, mode, options.device
        )
        found = {"floors": distance(run, options.samples, options.device)}
        found |= {"seconds": seconds, "compiling": compiling}
        while run.images < options.further:
            run.advance()
        if options.further:
            found["further"] = distance(run, options.samples, options.device)
        path.write_text(json.dumps({"what": what, "found": found}), "utf-8")
        print(f"seed {seed}: {found}", file=sys.stderr)
    kept = [json.loads(path.read_text("utf-8"))["found"] for path in sorted(options.out.glob("*.json"))]
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores, {hardware.cpu_name()}"
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else threads
    print("\n".join([*HEAD, row(kept, options.images, where)]))
    if options.further:
        later = [run["further"] for run in kept]
        mean, worst = statistics.mean(later), max(later)
        print(f"\nAfter {options.further:,} images: {mean:.1f} floors, worst {worst:.1f}.")
    print(
        f"\n`python {' '.join(sys.argv)}`, commit {commit()}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
