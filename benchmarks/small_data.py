"""What augmentation does for a small set: `swift` on the first 1,000 images of MNIST, with it and without.

With groups of look-alikes of 50 images, as the recipe has them, and smaller ones, which are quicker to learn
and to learn by heart.

    python benchmarks/small_data.py --seeds 3 --images 200000
    python benchmarks/small_data.py --ways "groups of 50" "groups of 7, affine and translation"

Runs side by side, of the same seeds. Judged are 10,000 images against MNIST's test set, and how
near 1,000 of them lie to the 1,000 training images, beside 1,000 training images of MNIST that were not in
the set: 0.5 where the generator keeps the distance of new digits, 1 for copies.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from speed import commit

import mulligan
from mulligan import data, hardware, scorecard
from mulligan.arena.results import interval
from mulligan.data.dataset import Dataset
from mulligan.metrics import memory
from mulligan.scorecard import measure

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
SMALL = 1_000
OF_50, OF_10, OF_7 = (f"condition.smallest={smallest}" for smallest in (50, 10, 7))
HIDDEN = 'augment.policy=["translation", "cutout"]'
TURNED = 'augment.policy=["affine", "translation"]'
WAYS = {
    "groups of 50": [OF_50],
    "groups of 50, translation and cutout": [OF_50, HIDDEN],
    "groups of 10": [OF_10],
    "groups of 10, translation and cutout": [OF_10, HIDDEN],
    "groups of 7, affine and translation": [OF_7, TURNED],
}


def train(overrides: list[str], seed: int, images: int, mnist: Dataset) -> dict[str, float]:
    """Train once on the small set and judge."""
    assert mnist.labels is not None
    small = Dataset("mnist-1000", mnist.images[:SMALL], mnist.labels[:SMALL], mnist.class_names)
    reference = scorecard.find("mnist")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        quiet = ("samples.every=0", "card.every=0", "checkpoint.every=1000000000")
        mulligan.train(
            "swift",
            data=small,
            seed=seed,
            images=images,
            out=out,
            device="cpu",
            overrides=(*quiet, *overrides),
        )
        drawn = mulligan.load(out).sample(10_000, seed=0)
    found = measure.compare_lightly(reference.evaluator.judge(drawn), reference)
    seen, new = (mnist.images[i : i + SMALL].reshape(SMALL, -1) for i in (0, SMALL))
    distances, ratio, _ = memory.nearest(drawn[:SMALL].reshape(SMALL, -1), seen)
    held_out, ordinary, _ = memory.nearest(new, seen)
    return {
        "frechet": found["frechet"].value,
        "recall": found["recall"].value,
        "closer": memory.closeness(distances, held_out).value,
        "copies": float(memory.near_copies(ratio).mean()),
        "ordinary copies": float(memory.near_copies(ordinary).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--out", type=Path, default=FIGURES / "small-data.md")
    options = parser.parse_args()
    mnist = data.load("mnist")
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    for seed in range(options.seeds):
        for way in options.ways:
            rows[way].append(train(WAYS[way], seed, options.images, mnist))
            print(way, seed, json.dumps(rows[way][-1]), flush=True)
    lines = [
        "# A thousand images",
        "",
        f"Means over {options.seeds} seeds, after {options.images:,} images. Closer: the chance that an",
        "image lies nearer to the training images than a new digit does; near copies as in",
        "docs/scorecard.md.",
        "",
        "| | Fréchet distance | recall | closer than new digits | near copies | among new digits |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for way, found in rows.items():
        means = {key: statistics.mean(row[key] for row in found) for key in found[0]}
        lines.append(
            f"| {way} | {means['frechet']:.2f} | {means['recall']:.2f} | {means['closer']:.3f} "
            f"| {means['copies']:.1%} | {means['ordinary copies']:.1%} |"
        )
    first, *others = rows.values()
    for way, found in zip(list(rows)[1:], others, strict=True):
        logs = [math.log(a["frechet"] / b["frechet"]) for a, b in zip(first, found, strict=True)]
        mean, half = interval(logs)
        spread = f" ({math.exp(mean - half):.2f} … {math.exp(mean + half):.2f})" if half else ""
        lines += ["", f"`{next(iter(rows))}` has {math.exp(mean):.2f} times{spread} the distance of `{way}`."]
    machine = f"{hardware.cpu_name()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    lines += ["", f"`python {shlex.join(sys.argv)}`, commit {commit()}, {machine}.", ""]
    options.out.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main()
