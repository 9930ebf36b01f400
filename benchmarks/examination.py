"""What the doctor's examinations cost: their time as a share of a whole run's.

    python benchmarks/examination.py [--rounds 5] [--out docs/figures/examination.md]

Updates, in the way that the machine would choose for the whole budget, and examinations are timed in turns;
the share is that of all examinations of the recipe's budget.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from speed import commit

from mulligan import data, hardware, loop, training, vitals

RECIPES = ("mlp-relu", "dcgan-softmax", "mlp-batchnorm", "mlp-smooth", "swift", "swift-class")
UPDATES = 30


def row(name: str, rounds: int) -> str:
    """Time one recipe."""
    state = training.tuned(training.prepare(name, data=data.load("mnist"), device="cpu")).state
    state.advance()
    vitals.examine(state)
    updates, examinations = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(UPDATES):
            state.advance()
        updates.append((time.perf_counter() - start) / UPDATES)
        start = time.perf_counter()
        vitals.examine(state)
        examinations.append(time.perf_counter() - start)
    update, one = statistics.median(updates), statistics.median(examinations)
    steps = state.recipe.budget.images / (state.recipe.data.batch * state.recipe.step.d_steps)
    count = state.recipe.budget.images // loop.examinations(state.recipe).every
    share = count * one / (steps * update)
    return f"| `{name}` | {state.mode} | {update * 1e3:.1f} ms | {one * 1e3:.0f} ms | {count} | {share:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "| recipe | way | an update | an examination | in a run | share of its time |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name in RECIPES:
        lines.append(row(name, options.rounds))
        print(lines[-1], flush=True)
    machine = f"{hardware.cpu_name()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    how = f"`python benchmarks/examination.py --rounds {options.rounds}`, commit {commit()}, {machine}."
    text = "\n".join(["# What examinations cost", "", *lines, "", how, ""])
    if options.out:
        options.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
