"""How fast updates are on one GPU: as they are written, as one launch, and compiled as well; in turns.

    python benchmarks/gpu.py [--recipes relativistic-r1r2 …] [--rounds 5] [--out docs/figures/gpu.md]

The plain loops are those of the parity tests, their weights and data on the same GPU; they draw on the
processor and wait for every loss, as the tutorials do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch
from speed import Timed, commit, digits, in_turns, ours, plain, ratio

from mulligan import hardware, recipe, state
from mulligan.compiled import CannotCompile
from mulligan.hardware import Mode
from parity.plain_loops import PLAIN_LOOPS  # found by way of speed

WAYS = (
    Mode("exact"),
    Mode("exact", captured=True),
    Mode("bf16", captured=True),
    Mode("bf16", compiled=True, captured=True),
)
NAMES = (*PLAIN_LOOPS, "relativistic-r1r2", "wgan-gp", "swift")


def waiting(timed: Timed) -> Timed:
    """Time something until the GPU has done it."""

    def make(n: int) -> None:
        timed.make(n)
        torch.cuda.synchronize()

    return Timed(timed.name, make)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="*", default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="Keep the table in this file.")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA device here")
    dataset, device = digits(), torch.device("cuda")
    machine = f"{torch.cuda.get_device_name(device)}, {hardware.cpu_name()}, PyTorch {torch.__version__}"
    lines = [
        f"`python benchmarks/gpu.py --rounds {options.rounds}`, commit {commit()}, {machine}.",
        "",
        "| recipe | way | updates/s | D+G images/s | × plain loop |",
        "|---|---|--:|--:|--:|",
    ]
    for name in options.recipes:
        chosen = recipe.read(name)
        rows: list[Timed] = []
        for way in WAYS:
            run = state.begin(chosen, dataset, seed=0, device=device)
            if name in PLAIN_LOOPS and not rows:
                rows.append(waiting(plain(name, run)))
            try:
                run.use(way)
            except CannotCompile as error:
                print(f"{name}, {way}: {error}", file=sys.stderr)
                continue
            rows.append(waiting(ours(str(way), run)))
        taken = in_turns(rows, options.rounds, 1.0)
        for row in rows:
            middle = statistics.median(taken[row.name])
            images = chosen.data.batch * chosen.step.d_steps / middle
            plainly = ratio(taken.get("plain loop"), taken[row.name])
            lines.append(f"| `{name}` | {row.name} | {1 / middle:,.1f} | {images:,.0f} | {plainly} |")
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
