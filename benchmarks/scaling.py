"""How fast several processes train one GAN, beside one process with as many threads.

    python benchmarks/scaling.py [--recipes …] [--processes 2] [--seconds 20] [--rounds 3] [--out FILE.md]

Every way runs as a user would run it, through torchrun where there are several processes, in turns; the
figure is the median over rounds of the images per second that the log's last row tells. On a machine
with GPUs there is one process for each, and the threads do not matter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from speed import commit

from mulligan import hardware, runlog


def images_per_second(recipe: str, processes: int, threads: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        train = ["-m", "mulligan", "train", recipe, "--precision", "exact", "--quiet", "--out", str(run)]
        limits = ["--minutes", str(seconds / 60), "--set", "card.every=0", "--set", "log.every=2560"]
        subprocess.run(
            [sys.executable, *(launch if processes > 1 else []), *train, *limits],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MULLIGAN_COMPILE": "0"},
        )
        rows: list[Any] = runlog.rows(run)
        first, last = rows[len(rows) // 4], rows[-1]  # the start apart
        return float(
            (last["images"] - first["images"]) / (last["time"]["seconds"] - first["time"]["seconds"])
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="*", default=["mlp-relu", "dcgan-softmax", "relativistic-r1r2"])
    parser.add_argument("--processes", type=int, default=torch.cuda.device_count() or 2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    n = options.processes
    ways = {"1 process, 1 thread": (1, 1), f"1 process, {n} threads": (1, n), f"{n} processes": (n, 1)}
    lines = [
        f"Command: `python {' '.join(sys.argv)}`, commit {commit()}, "
        f"median of {options.rounds} rounds in turns.",
        f"Machine: {hardware.cpu_name()}, {os.cpu_count()} cores, {torch.cuda.device_count()} GPUs; "
        f"PyTorch {torch.__version__}; float32, not compiled.",
        "",
        "| recipe | "
        + " | ".join(f"{way}: images/s" for way in ways)
        + f" | {n} processes ÷ 1 with {n} threads |",
        "|---|" + "--:|" * (len(ways) + 1),
    ]
    for recipe in options.recipes:
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, (processes, threads) in ways.items():
                found[way].append(images_per_second(recipe, processes, threads, options.seconds))
        *_, many = found.values()
        one = found[f"1 process, {n} threads"]
        gain = statistics.median(m / o for m, o in zip(many, one, strict=True))
        figures = " | ".join(f"{statistics.median(rates):,.0f}" for rates in found.values())
        lines.append(f"| `{recipe}` | {figures} | {gain:.2f} |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
