"""Does the second shot mend a tutorial? Before and after, on MNIST.

    python benchmarks/second_shots.py --seeds 5 [--tutorials mlp-tanh …] [--out FOLDER]

Each tutorial is run as published but for its budget, and `mlp-tanh` without its stop rule; then the doctor is
asked, `mulligan retry` takes its first advice, and both generators are judged by 10,000 images. One JSON file
a pair is kept in --out, and not made again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import torch
from quality import described
from speed import commit

import mulligan
from mulligan import doctor, hardware, scorecard
from mulligan.arena.results import interval

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
# Tutorial → images, changes
TUTORIALS: dict[str, tuple[int, tuple[str, ...]]] = {
    "mlp-tanh": (256_000, ('stop={kind="none"}', "log.every=12800", "samples.every=25600")),
    "mlp-relu": (600_000, ()),
    "mlp-smooth": (600_000, ()),
}
N = 10_000
HEAD = """# What the second shot mends

Means with 95 % intervals over seeds; 10,000 images each. Trained as published but for the budget; the second
shot begins before the onset and has the same budget.

"""


def pair(name: str, seed: int, scratch: Path) -> dict[str, Any]:
    """Train, ask the doctor, take the second shot, judge both."""
    images, changes = TUTORIALS[name]
    shutil.rmtree(scratch, ignore_errors=True)
    every = images // 10
    changes = (*changes, f"card.every={every}", f"checkpoint.every={every}")
    found: dict[str, Any] = {"tutorial": name, "seed": seed}
    first = mulligan.train(
        name, data="mnist", images=images, seed=seed, out=scratch / "first", device="cpu", overrides=changes
    )
    found["verdicts"] = [verdict.kind for verdict in doctor.examine(first.directory).verdicts]
    second = mulligan.retry(first.directory, out=scratch / "second", device="cpu")
    found["changes"] = json.loads((second.directory / "parent.json").read_text("utf-8"))["changes"]
    found["from"] = json.loads((second.directory / "parent.json").read_text("utf-8"))["images"]
    found["verdicts after"] = [verdict.kind for verdict in doctor.examine(second.directory).verdicts]
    for when, run in (("before", first), ("after", second)):
        card = scorecard.evaluate(run.directory, n=N)
        found[when] = {**described(card), "seconds": run.seconds}
    return found


def page(rows: list[dict[str, Any]]) -> str:
    """Return a table, a line a tutorial."""
    lines = [
        "| tutorial | seeds | images | first verdict | Fréchet before | after | recall before | after |",
        "|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    for name, (images, _) in TUTORIALS.items():
        own = [row for row in rows if row["tutorial"] == name]
        if not own:
            continue
        words = sorted({row["verdicts"][0] for row in own})
        cells = []
        for figure in ("frechet", "recall"):
            for when in ("before", "after"):
                mean, half = interval([row[when]["card"][figure] for row in own])
                cells.append(f"{mean:.3g}" + (f" ± {half:.2g}" if half else ""))
        lines.append(f"| `{name}` | {len(own)} | {images:,} | {', '.join(words)} | {' | '.join(cells)} |")
    for name in TUTORIALS:
        own = [row for row in rows if row["tutorial"] == name]
        if own:
            changes = "; ".join(own[0]["changes"])
            also = sorted({kind for row in own for kind in row["verdicts"]})
            classes = [
                statistics.mean("missing-class" in row[when]["warnings"] for row in own)
                for when in ("before", "after")
            ]
            said = f"`{name}`: in all the doctor said {', '.join(also)}. Changed: {changes}."
            lines += [
                "",
                f"{said} Runs with missing classes: {classes[0]:.0%} before, {classes[1]:.0%} after.",
            ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tutorials", nargs="*", default=list(TUTORIALS))
    parser.add_argument("--out", type=Path, default=Path("second-shots"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for name in options.tutorials:
            kept = options.out / f"{name}-{seed}.json"
            if not kept.exists():
                found = pair(name, seed, options.out / f"running-{name}")
                kept.write_text(json.dumps({**found, "commit": commit()}), "utf-8")
                distances = [found[when]["card"]["frechet"] for when in ("before", "after")]
                print(name, seed, found["verdicts"][:2], *distances, flush=True)
    rows = [json.loads(path.read_text("utf-8")) for path in sorted(options.out.glob("*.json"))]
    how = f"python benchmarks/second_shots.py --seeds {options.seeds}"
    machine = f"{hardware.cpu_name()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    text = f"{HEAD}{page(rows)}\n\n`{how}`, commit {commits}, {machine}.\n"
    (FIGURES / "second-shots.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
