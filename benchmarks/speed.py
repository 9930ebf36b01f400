"""How fast updates are, beside the plain eager loops of the parity tests and this machine's own ceiling.

    python benchmarks/speed.py [--short] [--rounds 7] [--out docs/figures/speed.md]

Everything in a row is timed in turns within one process, round after round, so that a machine that slows
down slows all of it; a figure is the median over rounds, a ratio the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from mulligan import data, hardware, loop, recipe, state, training
from mulligan.calibration import images_per_update
from mulligan.compiled import CannotCompile
from mulligan.data.dataset import Dataset
from mulligan.hardware import Mode
from mulligan.state import State

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from parity.plain_loops import PLAIN_LOOPS  # noqa: E402

PRODUCTS = {
    torch.ops.aten.mm,
    torch.ops.aten.addmm,
    torch.ops.aten.bmm,
    torch.ops.aten.convolution,
    torch.ops.aten.convolution_backward,
}
OTHERS = ("relativistic-r1r2", "wgan-gp", "hinge-sn", "lsgan")
WAYS = {
    "float32": Mode("exact"),
    "float32, compiled": Mode("exact", compiled=True),
    "bfloat16": Mode("bf16"),
    "bfloat16, compiled": Mode("bf16", compiled=True),
}


@dataclass(frozen=True)
class Timed:
    """Something to be timed: makes so many updates and returns when they are done."""

    name: str
    make: Callable[[int], None]


def digits() -> Dataset:
    """MNIST where it is; noise of its size elsewhere, which takes as long."""
    try:
        return data.load("mnist", fetch_missing=False)
    except ValueError:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 10, 60_000)
        pixels = rng.integers(0, 256, (60_000, 1, 28, 28), dtype=np.uint8)
        return Dataset("noise", pixels, labels, tuple(map(str, range(10))))


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    found = [dict(layer.named_parameters(recurse=False)) for layer in network.modules()]
    layers = [layer for layer in found if layer]
    return {
        f"{i}.{k}": v.detach().clone().contiguous()
        for i, layer in enumerate(layers)
        for k, v in layer.items()
    }


def plain(name: str, run: State) -> Timed:
    """The plain loop, drawing as the run does."""
    weights = plain_weights(run.gan.generator), plain_weights(run.gan.discriminator)
    images, batch = run.stream.images, run.recipe.data.batch

    def reals() -> Iterator[Tensor]:
        while True:
            yield images[torch.randint(len(images), (batch,))]

    def latents() -> Iterator[Tensor]:
        while True:
            yield run.stream.latents(batch)

    return Timed("plain loop", lambda n: void(PLAIN_LOOPS[name](*weights, reals(), latents(), n)))


def void(_: object) -> None:
    return None


def ours(name: str, run: State) -> Timed:
    def make(n: int) -> None:
        for _ in range(n):
            health = run.advance().health
            if run.device.type == "cpu":
                assert math.isfinite(float(health))
        assert math.isfinite(float(health))  # waits for what is still under way

    return Timed(name, make)


class Recorded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps every matrix product and convolution, with what it was given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in PRODUCTS:
            kept = tree_map(
                lambda x: x.detach().clone() if isinstance(x, Tensor) else x, (args, kwargs or {})
            )
            self.calls.append(lambda: func(*kept[0], **kept[1]))
        return func(*args, **(kwargs or {}))


def products(run: State) -> tuple[Timed, float]:
    """The products of one update and nothing else: this machine's ceiling; and how many GFLOP they are."""
    with run.rehearsal(), Recorded() as recorded:
        run.advance()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for call in recorded.calls:
            call()

    def make(n: int) -> None:
        with torch.no_grad():
            for _ in range(n):
                for call in recorded.calls:
                    call()

    return Timed("products alone", make), counter.get_total_flops() / 1e9


def in_turns(rows: list[Timed], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per update of each, round after round."""
    counts: dict[str, int] = {}
    taken: dict[str, list[float]] = {row.name: [] for row in rows}
    for row in rows:
        row.make(2)
        start = time.perf_counter()
        row.make(2)
        counts[row.name] = max(2, int(seconds * 2 / (time.perf_counter() - start)))
    for _ in range(rounds):
        for row in rows:
            start = time.perf_counter()
            row.make(counts[row.name])
            taken[row.name].append((time.perf_counter() - start) / counts[row.name])
    return taken


def updates_table(names: Sequence[str], dataset: Dataset, rounds: int, seconds: float) -> Iterator[str]:
    if not names:
        return
    yield "| recipe | way | updates/s | spread | D+G images/s | × plain loop | × ceiling | ready after |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for name in names:
        chosen = recipe.read(name)
        rows: list[Timed] = []
        ready: dict[str, float] = {}
        fast = next(way for way, mode in WAYS.items() if mode.precision == best_precision())
        for way, mode in WAYS.items():
            if mode.precision == "bf16" and best_precision() != "bf16":
                continue
            run = state.begin(chosen, dataset, seed=0)
            if name in PLAIN_LOOPS and not rows:
                rows.append(plain(name, run))
            start = time.perf_counter()
            try:
                run.use(mode)
            except CannotCompile:
                continue
            run.advance()
            ready[way] = time.perf_counter() - start
            rows.append(ours(way, run))
            if way == fast:
                ceiling, flop = products(run)
        rows.append(ceiling)
        taken = in_turns(rows, rounds, seconds)
        for row in rows:
            middle = statistics.median(taken[row.name])
            low, high = min(taken[row.name]), max(taken[row.name])
            images = chosen.data.batch * chosen.step.d_steps / middle
            plainly = ratio(taken.get("plain loop"), taken[row.name])
            of_ceiling = ratio(taken[ceiling.name], taken[row.name])
            note = f"{flop:.2f} GFLOP, {flop / middle:,.0f} GFLOP/s" if row is ceiling else ""
            yield (
                f"| `{name}` | {row.name} | {1 / middle:,.1f} | {1 / high:,.1f}–{1 / low:,.1f} | "
                f"{'' if row is ceiling else f'{images:,.0f}'} | {plainly} | {of_ceiling} | "
                f"{note or (f'{ready[row.name]:.1f} s' if row.name in ready else '')} |"
            )


def ratio(before: list[float] | None, after: list[float]) -> str:
    if before is None:
        return ""
    return f"{statistics.median(b / a for b, a in zip(before, after, strict=True)):.2f}"


def best_precision() -> str:
    return "bf16" if hardware.multiplies_bf16(torch.device("cpu")) else "exact"


def upkeep(name: str, dataset: Dataset, seconds: float) -> str:
    """What a whole run costs beside its updates, as shares of the time that these took in the same run."""
    with tempfile.TemporaryDirectory() as folder:
        plan = training.tuned(training.prepare(name, data=dataset, minutes=10))
        run, average = plan.state, 0.0
        rows = [ours("bare", run)]
        if plan.recipe.ema.half_life:
            without = training.prepare(name, data=dataset, overrides=("ema.half_life=0",)).state
            without.use(run.mode)
            rows.append(ours("no average", without))
        bare = in_turns(rows, 5, 0.5)
        if plan.recipe.ema.half_life:
            pairs = zip(bare["bare"], bare["no average"], strict=True)
            average = statistics.median(1 - less / usual for usual, less in pairs)
        updates = int(seconds / statistics.median(bare["bare"]))
        images = min(updates * images_per_update(run), plan.recipe.budget.images)
        plan = training.tuned(training.prepare(name, data=dataset, images=images), mode=run.mode)
        foretold = plan.forecast.seconds if plan.forecast else 0.0
        with timing(State, "advance") as advancing, timing(loop, "_examine") as examining:
            start = time.perf_counter()
            done = training.execute(plan, Path(folder) / "run")
            whole = time.perf_counter() - start
    alone, looks = sum(advancing), sum(examining)
    rest = whole - alone - looks
    off = foretold / done.seconds - 1
    return (
        f"| `{name}` | {done.steps:,} | {alone:.1f} s | {whole:.1f} s | {rest / alone:.1%} | {average:.1%} | "
        f"{looks / alone:.1%} | {foretold:.1f} s for {done.seconds:.1f} s | {off:+.1%} |"
    )


@contextlib.contextmanager
def timing(owner: object, name: str) -> Iterator[list[float]]:
    """Collect the seconds that calls of a function take within."""
    function, taken = getattr(owner, name), list[float]()

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            taken.append(time.perf_counter() - start)

    setattr(owner, name, timed)
    try:
        yield taken
    finally:
        setattr(owner, name, function)


def memory(dataset: Dataset, steps: int) -> str:
    run = state.begin(recipe.read("mlp-relu"), dataset)
    with contextlib.suppress(CannotCompile):
        run.use(WAYS["bfloat16, compiled"])
    found = []
    for count in (steps // 10, steps - steps // 10):
        for _ in range(count):
            run.advance()
        status = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
        found.append(int(status[1]) / 1024 if status else 0)
    early = f"{found[0]:,.0f} MiB after {steps // 10:,} updates"
    return f"Memory of `mlp-relu`: {early}, {found[1]:,.0f} MiB after {steps:,}."


def sampling(dataset: Dataset, n: int) -> Iterator[str]:
    for name in ("mlp-relu", "dcgan-softmax", "relativistic-r1r2"):
        sampler = state.begin(recipe.read(name), dataset).sampler()
        sampler.sample(256)
        start = time.perf_counter()
        sampler.sample(n)
        yield f"`{name}` {n / (time.perf_counter() - start):,.0f}"


def command_line(times: int) -> str:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mulligan", "--version"], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return f"`mulligan --version`: {statistics.median(taken):.3f} s (median of {times})."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="Two recipes, a glance at each: does it run?")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--recipes", nargs="*", default=[*PLAIN_LOOPS, *OTHERS], help="For the first table; none: without it."
    )
    parser.add_argument("--out", type=Path, help="Keep the table in this file.")
    options = parser.parse_args()
    rounds, seconds = (2, 0.05) if options.short else (options.rounds, 1.0)
    names = ["mlp-relu"] if options.short else options.recipes
    dataset = digits()
    lines = [
        f"Command: `python {' '.join(sys.argv)}`, commit {commit()}, {rounds} rounds in turns.",
        f"Machine: {hardware.cpu_name()}, {torch.get_num_threads()} threads, {platform.system()}; "
        f"PyTorch {torch.__version__}; data: {dataset.name}.",
        "",
    ]
    print("\n".join(lines))

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for line in updates_table(names, dataset, rounds, seconds):
        say(line)
    say("")
    say(
        "| a whole run | updates | the updates alone | all of it | logs, pictures, checkpoints, cards | "
        "the average | examinations | forecast | off by |"
    )
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name in (
        ["mlp-relu"] if options.short else ("mlp-relu", "dcgan-softmax", "relativistic-r1r2", "swift")
    ):
        say(upkeep(name, dataset, 1.0 if options.short else 120.0))
    say("")
    say(memory(dataset, 200 if options.short else 10_000))
    say("")
    say("Sampler, images/s: " + ", ".join(sampling(dataset, 512 if options.short else 10_000)) + ".")
    say("")
    say(command_line(2 if options.short else 9))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
