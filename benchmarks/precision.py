"""Does computing in bfloat16, compiled, cost quality? The same images seen, paired seeds.

    python benchmarks/precision.py [--seeds 5] [--recipes mlp-relu …] [--out docs/figures/precision.md]

Every seed trains twice, float32 as written and bfloat16 compiled, from the same weights on the same
batches and latents. Each is judged once, at the end, by the Fréchet distance of 10,000 samples to the
reference of MNIST's test set. Rows are kept in a JSON file beside the table, and a run that is there is
not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
from pathlib import Path

import torch
from scipy import stats
from speed import commit

from mulligan import data, hardware, recipe, scorecard, state
from mulligan.data.dataset import Dataset
from mulligan.hardware import Mode
from mulligan.scorecard import measure

UPDATES = {
    "mlp-relu": 8_000,
    "mlp-smooth": 8_000,
    "mlp-batchnorm": 2_500,
    "dcgan-softmax": 800,
    "mlp-tanh": 50,
}
WAYS = {"float32": Mode("exact"), "bfloat16": Mode("bf16", compiled=True)}
SAMPLES = 10_000
MARGIN = 1.10


def distance(name: str, seed: int, mode: Mode, dataset: Dataset) -> float:
    run = state.begin(recipe.read(name), dataset, seed=seed)
    run.use(mode)
    for _ in range(UPDATES[name]):
        run.advance()
    reference = scorecard.find("mnist")
    judged = reference.evaluator.judge(run.sampler().sample(SAMPLES, seed))
    return measure.compare_lightly(judged, reference)["frechet"].value


def table(found: dict[str, dict[str, float]], names: list[str], seeds: int) -> list[str]:
    lines = [
        f"| recipe | updates | float32 | bfloat16, compiled | ratio (geometric) | 95 % upper | ≤ {MARGIN} |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for name in names:
        pairs = [
            found[f"{name} {seed}"] for seed in range(seeds) if len(found.get(f"{name} {seed}", {})) == 2
        ]
        if len(pairs) < 2:
            continue
        logs = [math.log(pair["bfloat16"] / pair["float32"]) for pair in pairs]
        mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
        upper = math.exp(mean + stats.t.ppf(0.95, len(logs) - 1) * error)
        columns = [
            f"{statistics.mean(p[way] for p in pairs):.2f} ± {statistics.stdev(p[way] for p in pairs):.2f}"
            for way in WAYS
        ]
        verdict = "shown" if upper <= MARGIN else ("not shown" if math.exp(mean) <= MARGIN else "no")
        lines.append(
            f"| `{name}` | {UPDATES[name]:,} | {columns[0]} | {columns[1]} | {math.exp(mean):.3f} | "
            f"{upper:.3f} | {verdict} ({len(pairs)} seeds) |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipes", nargs="*", default=list(UPDATES), choices=list(UPDATES))
    parser.add_argument("--out", type=Path, default=Path("precision.md"))
    options = parser.parse_args()
    rows = options.out.with_suffix(".json")
    found: dict[str, dict[str, float]] = json.loads(rows.read_text("utf-8")) if rows.exists() else {}
    dataset = data.load("mnist")
    head = [
        f"Command: `python {' '.join(sys.argv)}`, commit {commit()}. Machine: {hardware.cpu_name()}, "
        f"{torch.get_num_threads()} threads, {platform.system()}, PyTorch {torch.__version__}.",
        f"Fréchet distance of {SAMPLES:,} samples, mean ± standard deviation over seeds.",
        "",
    ]
    for seed in range(options.seeds):
        for name in options.recipes:
            pair = found.setdefault(f"{name} {seed}", {})
            for way, mode in WAYS.items():
                if way not in pair:
                    pair[way] = distance(name, seed, mode, dataset)
                    print(f"{name} seed {seed} {way}: {pair[way]:.3f}", flush=True)
                    rows.write_text(json.dumps(found, indent=1), encoding="utf-8")
        options.out.write_text(
            "\n".join(head + table(found, options.recipes, seed + 1)) + "\n", encoding="utf-8"
        )
    print(options.out.read_text("utf-8"))


if __name__ == "__main__":
    main()
