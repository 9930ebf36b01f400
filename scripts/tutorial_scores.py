"""Lay the cards of the tutorials out as the table of docs/scorecard.md, and their grids as its picture.

    python scripts/tutorial_scores.py CARDS > table.md
    python scripts/tutorial_scores.py CARDS --runs RUNS --picture docs/pictures/tutorial-scores.png

CARDS holds what `mulligan evaluate RUN --json CARDS/RECIPE-SEED-MARK.json` wrote, MARK being 60s, 300s,
stop or full; RUNS holds RECIPE-0-MARK.npz of at least 36 images each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mulligan import pictures, scorecard
from mulligan.arena.results import interval
from mulligan.data.npz import read_npz

RECIPES = ("mlp-tanh", "mlp-relu", "mlp-smooth", "mlp-batchnorm", "dcgan-softmax")
MARKS = {"stop": "stopped by its rule", "60s": "60 s", "300s": "5 min", "full": "full budget"}
COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "class_kl": "class KL",
    "memorisation": "closer than held-out",
}
N = 10_000


def written(values: list[float]) -> str:
    mean, half = interval(values)

    def short(value: float) -> str:
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"

    return short(mean) + (f" ± {short(half)}" if half is not None else "")


def row(recipe: str, mark: str, cards: list[dict[str, Any]], floor: float) -> str:
    frechet = [card["metrics"]["frechet"]["value"] for card in cards]
    missing = sorted({label for card in cards for label in card["missing_classes"]})
    fewest = sum(len(card["missing_classes"]) for card in cards) / len(cards)
    cells = [
        f"`{recipe}`, {MARKS[mark]}",
        str(len(cards)),
        written(frechet),
        f"{sum(frechet) / len(frechet) / floor:,.0f}",
        *(written([card["metrics"][name]["value"] for card in cards]) for name in COLUMNS),
        f"{fewest:.1f}" + (f" ({', '.join(map(str, missing))})" if missing else ""),
    ]
    return f"| {' | '.join(cells)} |"


def table(folder: Path) -> None:
    reference = scorecard.find("mnist")
    floors = {name: reference.floor(name, N) for name in ("frechet", *COLUMNS)} | {"memorisation": 0.5}
    floor = floors["frechet"]
    assert floor is not None
    head = ["recipe, after", "seeds", "Fréchet distance", "in floors", *COLUMNS.values(), "missing (which)"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    real = " | ".join(f"{floors[name]:.2g}" for name in COLUMNS)
    print(f"| *real images* | – | {floor:.3g} | 1 | {real} | 0 |")
    for recipe in RECIPES:
        for mark in MARKS:
            cards = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{recipe}-*-{mark}.json"))]
            if cards:
                print(row(recipe, mark, cards, floor))


def picture(runs: Path, out: Path) -> None:
    blocks = {}
    for path in runs.glob("*-0-*.npz"):
        recipe, _, mark = path.stem.rpartition("-0-")
        blocks[recipe, mark] = pictures.grid(read_npz(path)[0][:36], 6)
    side = next(iter(blocks.values())).width
    marks = ("60s", "300s", "full")
    recipes = [recipe for recipe in RECIPES if any(name == recipe for name, _ in blocks)]
    sheet = Image.new("L", (len(marks) * (side + 12), len(recipes) * (side + 34)), 255)
    pen = ImageDraw.Draw(sheet)
    for i, recipe in enumerate(recipes):
        for j, mark in enumerate(marks):
            left, top = j * (side + 12), i * (side + 34)
            block = blocks.get((recipe, "stop" if recipe == "mlp-tanh" and j == 0 else mark))
            if block is not None:
                label = MARKS["stop" if recipe == "mlp-tanh" else mark]
                pen.text((left + 4, top + 4), f"{recipe}, {label}", fill=0, font_size=16)
                sheet.paste(block, (left, top + 26))
    pictures.save_png(out, sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cards", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    if arguments.runs and arguments.picture:
        picture(arguments.runs, arguments.picture)
    else:
        table(arguments.cards)


if __name__ == "__main__":
    main()
