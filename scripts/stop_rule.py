"""Stop three tutorials when D(G(z)) nears 1/2, as one of them says, and score what one then has.

    python scripts/stop_rule.py --seeds 5 --out runs/stop-rule > docs/figures/stop-rule.md

A run that the rule never stops ends after 400 updates. Wants the real MNIST.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import mulligan
from mulligan.arena.results import interval

RECIPES = ("mlp-relu", "mlp-tanh", "mlp-smooth")
RULE = 'stop={kind="d-of-fake",low=0.45,high=0.55,min_steps=10}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/stop-rule"))
    arguments = parser.parse_args()
    floor = mulligan.evaluate("mnist", n=2000, thorough=False).metrics["frechet"].floor
    assert floor is not None
    print("| recipe | the rule fired | after updates | D(G(z)) | Fréchet distance then | in floors |")
    print("|---|---|---|---|---|---|")
    for recipe in RECIPES:
        steps, values, distances = [], [], []
        for seed in range(arguments.seeds):
            out = arguments.out / f"{recipe}-{seed}"
            run = mulligan.train(
                recipe, data="mnist", steps=400, seed=seed, out=out, overrides=(RULE, "card.every=0")
            )
            fired = re.match(r"D\(G\(z\)\) = ([0-9.]+)", run.reason)
            if fired:
                steps.append(run.steps)
                values.append(float(fired[1]))
            card = mulligan.evaluate(out, n=2000, thorough=False)
            distances.append(card.metrics["frechet"].value)
        mean, half = interval(distances)
        print(
            f"| `{recipe}` | in {len(steps)} of {arguments.seeds} | "
            + (f"{min(steps)}–{max(steps)} | {min(values):.2f}–{max(values):.2f}" if steps else "– | –")
            + f" | {mean:.1f} ± {half or 0:.1f} | {mean / floor:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
