"""Kill runs at random moments, resume them, and hold the result against runs that were left alone.

    python benchmarks/kill_test.py [--kills 20] [--out FILE.md]

For each of three recipes one run is trained to its end undisturbed. A second run of the same seed
is killed with SIGKILL again and again, each time at a random moment, and resumed, until it has been
killed so often; then it is left to finish. Every tensor of the last checkpoint, every row of the log
but for its times, and every picture must be the same, bit for bit. Checkpoints come so often that
many kills fall into the writing of one; those that left a half-written file behind are counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

COMMON = [
    "--data",
    "digits",
    "--seed",
    "5",
    "--quiet",
    "--set",
    "log.every=640",
    "--set",
    "samples.every=3200",
]
RECIPES: dict[str, list[str]] = {
    "MLP (mlp-relu)": ["mlp-relu", "--images", "192000", "--set", "checkpoint.every=1280"],
    "convolutions with BatchNorm (lsgan)": [
        "lsgan", "--images", "6400", "--set", "generator.width=8", "--set", "discriminator.width=8",
        "--set", "checkpoint.every=128",
    ],
    "R1 + R2, EMA, augmentation, labels": [
        "relativistic-r1r2", "--images", "6400",
        "--set", "generator.width=8", "--set", "discriminator.width=8",
        "--set", "checkpoint.every=128", "--set", "condition.kind=concat",
        "--set", "augment.policy=['translation','cutout']", "--set", "augment.noise=0.05",
        "--set", "optimizer.generator.lr={images=[0,6400],values=[1e-3,1e-4]}",
    ],
}  # fmt: skip


def mulligan(*arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line."""
    command = [sys.executable, "-m", "mulligan", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(*arguments: str) -> float:
    """Run the command line to its end; return how long it took."""
    began = time.monotonic()
    code = mulligan(*arguments).wait()
    assert code == 0, f"{arguments}: exit code {code}"
    return time.monotonic() - began


def differences(a: Path, b: Path) -> list[str]:
    """Name everything in which two finished runs differ."""
    wrong = []
    latest = [sorted((run / "checkpoints").glob("[0-9]*.safetensors"))[-1] for run in (a, b)]
    one, other = (load_file(path) for path in latest)
    if latest[0].name != latest[1].name or one.keys() != other.keys():
        wrong.append("last checkpoint")
    wrong += [name for name in one if name not in other or not torch.equal(one[name], other[name])]
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (a, b)]
    if [{**row, "time": 0} for row in logs[0]] != [{**row, "time": 0} for row in logs[1]]:
        wrong.append("log.jsonl")
    pictures = [sorted(p.relative_to(run) for p in run.rglob("*.[pw][ne][gb]*")) for run in (a, b)]
    if pictures[0] != pictures[1]:
        wrong.append("which pictures there are")
    wrong += [
        str(p) for p in pictures[0] if (b / p).exists() and (a / p).read_bytes() != (b / p).read_bytes()
    ]
    return wrong


def kill_and_compare(
    arguments: list[str], kills: int, rng: random.Random, folder: Path
) -> tuple[int, int, list[str]]:
    """Return how many kills hit a run, how many of them the writing of a checkpoint, and what differs."""
    whole, killed = folder / "whole", folder / "killed"
    seconds = finish("train", *arguments, *COMMON, "--out", str(whole))
    hits = torn = 0
    while hits < kills:
        verb = ("resume", str(killed), "--quiet") if any(killed.glob("checkpoints/[0-9]*")) else None
        process = mulligan(*(verb or ("train", *arguments, *COMMON, "--out", str(killed))))
        while verb is None and process.poll() is None and not any(killed.glob("checkpoints/[0-9]*")):
            time.sleep(0.01)  # a first run is only killed once there is something to resume
        time.sleep(rng.uniform(1.0, max(4.0, seconds / 2)))
        if process.poll() is not None:  # it finished first: begin again, so that every kill hits a run
            for path in sorted(killed.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            continue
        process.kill()
        process.wait()
        hits += 1
        torn += any(killed.glob("checkpoints/.*.tmp"))
    finish("resume", str(killed), "--quiet")
    return hits, torn, differences(whole, killed)


def main() -> None:
    """Print the table; exit with 1 if anything differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = random.Random(0)
    lines = [
        "| recipe | kills | within a checkpoint's write | weights, log, pictures afterwards |",
        "|---|---|---|---|",
    ]
    failed = False
    for name, arguments in RECIPES.items():
        with tempfile.TemporaryDirectory() as folder:
            hits, torn, wrong = kill_and_compare(arguments, options.kills, rng, Path(folder))
        failed |= bool(wrong)
        lines.append(f"| {name} | {hits} | {torn} | {', '.join(wrong[:5]) or 'identical'} |")
        print(lines[-1], flush=True)
    page = "\n".join(lines)
    command = f"python benchmarks/kill_test.py --kills {options.kills}"
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    text = f"# Killed and resumed\n\n`{command}`, {versions}, {torch.get_num_threads()} threads.\n\n{page}\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)
    sys.exit(failed)


if __name__ == "__main__":
    main()
