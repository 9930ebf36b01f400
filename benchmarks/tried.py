"""What each thing that could make updates faster gains or loses, by itself.

    python benchmarks/tried.py [--rounds 7] [--recipes …] [--out docs/figures/tried.md]

Two runs that differ in one thing alone are timed in turns; the figure is the median over rounds of how
many times faster the one that has it is, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speed import Timed, commit, digits, in_turns, void
from torch import nn

from mulligan import hardware, recipe, state
from mulligan import thin as thin_products
from mulligan.data.dataset import Dataset
from mulligan.hardware import Mode
from mulligan.state import State

Change = Callable[[State], None]
EAGER, BF16, WHOLE = Mode("exact"), Mode("bf16"), Mode("bf16", compiled=True)


def nothing(_run: State) -> None:
    return None


def in_two_passes(run: State) -> None:
    run.gan = replace(run.gan, joined=False)


def rows_first(run: State) -> None:
    for network in (run.gan.generator, run.gan.discriminator):
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def adam(*, foreach: bool) -> Change:
    def change(run: State) -> None:
        for optimizer in (run.gan.g_optimizer, run.gan.d_optimizer):
            for group in optimizer.param_groups:
                group.update(fused=False, foreach=foreach)

    return change


def with_all_gradients(run: State) -> None:
    """As where the fakes that D learns from are not detached from G."""
    run.gan = replace(run.gan, generator=Attached(run.gan.generator))


class Attached(nn.Module):
    """Makes images whose graph is always kept."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor | None) -> torch.Tensor:
        with torch.enable_grad():
            images: torch.Tensor = self.network(*inputs)
        return images


@contextmanager
def changed(read: Callable[[], Any], write: Callable[[Any], object], value: Any) -> Iterator[None]:
    """A setting of torch's, as it is within."""
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


medium = partial(changed, torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium")
one_thread = partial(changed, torch.get_num_threads, torch.set_num_threads, 1)
flushed = partial(changed, lambda: False, torch.set_flush_denormal, True)
without_onednn = partial(torch.backends.mkldnn.flags, enabled=False)


def run_of(
    name: str, dataset: Dataset, mode: Mode, change: Change = nothing, *, noise: str = "", thin: bool = True
) -> State:
    overrides = (f"step.noise={noise}",) if noise else ()
    run = state.begin(recipe.read(name, overrides), dataset, seed=0)
    change(run)
    products = thin_products.TABLE
    if not thin:
        thin_products.TABLE = {}
    try:
        run.use(mode)
    finally:
        thin_products.TABLE = products
    run.advance()
    return run


def updates(name: str, run: State, around: Callable[[], AbstractContextManager[None]] = nullcontext) -> Timed:
    def make(n: int) -> None:
        with around():
            for _ in range(n):
                float(run.advance().health)

    return Timed(name, make)


def tries(name: str, dataset: Dataset, rounds: int) -> Iterator[tuple[str, str]]:
    """What was tried, and how many times faster the run is that has it."""

    def compared(with_it: Timed, without: Timed) -> str:
        taken = in_turns([with_it, without], rounds, 0.5)
        gains = [b / a for a, b in zip(taken[with_it.name], taken[without.name], strict=True)]
        return f"{statistics.median(gains):.2f} ({min(gains):.2f}–{max(gains):.2f})"

    def eager(change: Change = nothing) -> State:
        return run_of(name, dataset, EAGER, change)

    base = eager()
    ours = updates("ours", base)
    yield "matmul precision `medium`", compared(updates("with", base, medium), ours)
    yield "oneDNN, over none", compared(ours, updates("without", base, without_onednn))
    yield "bfloat16 products, float32 weights", compared(updates("with", run_of(name, dataset, BF16)), ours)
    yield "channels-last", compared(ours, updates("without", eager(rows_first)))
    yield "fused Adam, over a loop", compared(ours, updates("without", eager(adam(foreach=False))))
    yield "fused Adam, over foreach", compared(ours, updates("without", eager(adam(foreach=True))))
    fresh = updates("fresh", run_of(name, dataset, EAGER, noise="fresh"))
    yield (
        "G's turn on the fakes of D's",
        compared(updates("s", run_of(name, dataset, EAGER, noise="shared")), fresh),
    )
    kept = run_of(name, dataset, EAGER, with_all_gradients, noise="fresh")
    yield "no graph of G in D's turn", compared(fresh, updates("kept", kept))
    if base.gan.joined:
        yield "one pass of D over reals and fakes", compared(ours, updates("without", eager(in_two_passes)))
    yield "both threads, over one", compared(ours, updates("without", base, one_thread))
    yield "denormals flushed", compared(updates("with", base, flushed), ours)
    whole = updates("whole", run_of(name, dataset, Mode("exact", compiled=True)))
    yield "the update compiled whole, float32", compared(whole, ours)
    best = updates("best", run_of(name, dataset, WHOLE))
    yield "the same in bfloat16", compared(best, whole)
    yield (
        "thin products as sums, within it",
        compared(best, updates("without", run_of(name, dataset, WHOLE, thin=False))),
    )
    yield "**all together**", compared(best, updates("plainest", eager(plainest), without_onednn))
    taken = in_turns([Timed("draw", lambda n: draw(base, n)), best], rounds, 0.3)
    share = statistics.median(taken["draw"]) / statistics.median(taken["best"])
    yield "drawing and scaling a batch: share of an update", f"{100 * share:.1f} %"


def plainest(run: State) -> None:
    in_two_passes(run)
    rows_first(run)
    adam(foreach=False)(run)


def draw(run: State, n: int) -> None:
    for _ in range(n):
        void(run.stream.reals())
        void(run.stream.latents(run.recipe.data.batch))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--recipes", nargs="*", default=["mlp-relu", "dcgan-softmax", "relativistic-r1r2"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    dataset = digits()
    found: dict[str, dict[str, str]] = {}
    for name in options.recipes:
        for tried, gain in tries(name, dataset, options.rounds):
            found.setdefault(tried, {})[name] = gain
            print(f"{name}: {tried}: {gain}", flush=True)
    lines = [
        f"Command: `python {' '.join(sys.argv)}`, commit {commit()}, {options.rounds} rounds in turns.",
        f"Machine: {hardware.cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{platform.system()}; PyTorch {torch.__version__}; data: {dataset.name}.",
        "",
        "| tried | " + " | ".join(f"`{name}`" for name in options.recipes) + " |",
        "|---|" + "--:|" * len(options.recipes),
        *(
            f"| {tried} | " + " | ".join(gains.get(name, "not possible") for name in options.recipes) + " |"
            for tried, gains in found.items()
        ),
    ]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
