"""How good digits are after how many seconds: ours, the tutorials', and another project's DCGAN beside them.

    python benchmarks/quality.py run swift --seeds 5 --minutes 10 [--set KEY=VALUE …]
    python benchmarks/quality.py peer PATH/TO/PyTorch-GAN/implementations/dcgan/dcgan.py --minutes 10
    python benchmarks/quality.py page

`run` trains on MNIST, one process after another, and keeps of each its light cards (2,048 images) by
seconds and, of its last generator, a scorecard of 10,000 images: one JSON file a run, in --out, not made
again. `peer` runs the other project's script as it is, on the same threads, and judges its generator now
and then. `page` puts a figure and tables of all that is there into docs/figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import runpy
import statistics
import sys
import tempfile
import time
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import commit

import mulligan
from mulligan import data, hardware, scorecard
from mulligan.arena.results import interval
from mulligan.data.resize import resize_images
from mulligan.scorecard import measure

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
MARKS = (60, 120, 300, 600)  # seconds


def train(
    name: str, source: str, seed: int, minutes: float | None, images: int | None, changes: list[str]
) -> dict[str, Any]:
    """Train once; return the curve and the card."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        mulligan.train(
            name,
            data=source,
            seed=seed,
            out=out,
            device="cpu",
            minutes=minutes,
            images=images,
            overrides=("samples.every=0", "checkpoint.every=1000000000", *changes),
        )
        rows = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
        about = mulligan.load(out).about
        card = scorecard.evaluate(out, reference="mnist")
    return {
        "seconds": about.seconds,
        "images": about.images,
        "mode": str(about.mode),
        "curve": [(r["time"]["seconds"], r["images"], r["card"]["frechet"]) for r in rows if "card" in r],
        **described(card),
    }


def described(card: scorecard.Scorecard) -> dict[str, Any]:
    """Return what is kept of a scorecard."""
    values = {key: metric.value for key, metric in card.metrics.items()}
    floors = {key: metric.floor for key, metric in card.metrics.items()}
    return {"card": values, "floors": floors, "warnings": [warning.kind for warning in card.warnings]}


def peer(script: Path, minutes: float) -> dict[str, Any]:
    """Run another project's script for so long, judging its generator whenever it would save pictures.

    It wants torchvision, for MNIST and for pictures; what stands in for it here gives the same images, of 32
    pixels. The generator's are brought back to 28 before they are judged.
    """
    reference = scorecard.find("mnist")
    digits = torch.from_numpy(resize_images(data.load("mnist").images, 32)).float() / 127.5 - 1
    labels = torch.zeros(len(digits), dtype=torch.int64)
    curve: list[tuple[float, int, float]] = []
    begun, spent = time.monotonic(), 0.0  # on judging
    last: dict[str, Any] = {}

    def draw(generator: torch.nn.Module, n: int) -> Any:
        generator.eval()
        with torch.no_grad():
            z = torch.randn(n // 500 + 1, 500, 100, generator=torch.Generator().manual_seed(1))
            images = torch.cat([generator(part) for part in z])[:n]
        generator.train()
        small = resize_images(((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy(), 28)
        return np.ascontiguousarray(small)

    def save_image(*_: object, **__: object) -> None:
        nonlocal spent
        now, there = time.monotonic(), sys._getframe(1).f_globals
        seconds, images = now - begun - spent, 64 * (there["batches_done"] + 1)
        drawn = draw(there["generator"], 2048)
        found = measure.compare_lightly(reference.evaluator.judge(drawn), reference)["frechet"].value
        curve.append((seconds, images, found))
        print(f"{seconds:.0f} s, {images:,} images: {found:.2f}", file=sys.stderr, flush=True)
        spent += time.monotonic() - now
        if seconds > 60 * minutes:
            with tempfile.TemporaryDirectory() as scratch:
                data.write_npz(Path(scratch) / "drawn.npz", draw(there["generator"], 10_000), None)
                card = scorecard.evaluate(Path(scratch) / "drawn.npz", reference="mnist")
            last.update(seconds=seconds, images=images, mode="its own", curve=curve, **described(card))
            raise KeyboardInterrupt

    class MNIST(torch.utils.data.TensorDataset):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(digits, labels)

    stub = {name: types.ModuleType(name) for name in ("torchvision", *(f"torchvision.{m}" for m in PARTS))}
    for module in stub.values():
        for name in ("Resize", "ToTensor", "Normalize", "Compose"):
            setattr(module, name, lambda *_: None)
        module.save_image, module.MNIST = save_image, MNIST  # type: ignore[attr-defined]
    for part in PARTS:
        setattr(stub["torchvision"], part, stub[f"torchvision.{part}"])
    sys.modules.update(stub)
    sys.argv = [script.name, "--n_epochs", "1000", "--sample_interval", "25"]
    script = script.absolute()
    with (
        tempfile.TemporaryDirectory() as scratch,
        contextlib.chdir(scratch),
        contextlib.suppress(KeyboardInterrupt),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        runpy.run_path(str(script), run_name="__main__")
    return last


PARTS = ("transforms", "datasets", "utils")


def page(kept: list[dict[str, Any]]) -> str:
    """Return tables of all runs: by seconds, and of their last generators."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in kept:
        by_name[row["name"]].append(row)
    lines = [
        "# How good, after how many seconds",
        "",
        "At seconds: Fréchet distances of light scorecards of 2,048 images (real digits: 0.055), between",
        "two of them by interpolation. In the second table: of 10,000 images, at the end. Means over",
        "seeds ± half the 95 % interval.",
        "",
        "| | seeds | threads | images/s | " + " | ".join(f"{mark} s" for mark in MARKS) + " |",
        "|---|--:|--:|--:|" + "--:|" * len(MARKS),
    ]
    for name, rows in by_name.items():
        rate = statistics.mean(r["images"] / r["seconds"] for r in rows)
        cells = [mean(values) for values in ([at(r, mark) for r in rows] for mark in MARKS)]
        threads = "/".join(sorted({str(r["threads"]) for r in rows}))
        lines.append(f"| {name} | {len(rows)} | {threads} | {rate:,.0f} | {' | '.join(cells)} |")
    lines += ["", "", "| | seeds | seconds | images | " + " | ".join(ROWS.values()) + " | warnings |"]
    lines.append("|---|--:|--:|--:|" + "--:|" * len(ROWS) + "---|")
    for name, rows in by_name.items():
        seconds, images = (statistics.mean(r[key] for r in rows) for key in ("seconds", "images"))
        cells = [mean([r["card"].get(key) for r in rows]) for key in ROWS]
        warned = sorted({warning for r in rows for warning in r["warnings"]})
        shown = ", ".join(warned) or "none"
        lines.append(
            f"| {name} | {len(rows)} | {seconds:,.0f} | {images:,.0f} | {' | '.join(cells)} | {shown} |"
        )
    known = {key: [r["floors"][key] for r in kept if r["floors"].get(key) is not None] for key in ROWS}
    floors = [f"{values[0]:.3g}" if values else "–" for values in known.values()]
    lines.append(f"| real images | | | | {' | '.join(floors)} | |")
    made = sorted({f"{r['commit']}: `{r['command']}`, {r['machine']}" for r in kept})
    return "\n".join([*lines, "", "", "Made by:", "", *(f"- {line}" for line in made), ""])


ROWS = {
    "frechet": "Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "memorisation": "closer than held-out",
    "label_agreement": "label agreement",
    "train_on_synthetic": "train on it, test on real",
}


def at(row: dict[str, Any], mark: float) -> float | None:
    """Return a run's light card at a moment, between two cards in proportion (of logarithms)."""
    seconds, distances = [point[0] for point in row["curve"]], [point[2] for point in row["curve"]]
    if not seconds or not seconds[0] <= mark <= 1.03 * row["seconds"]:
        return None
    return float(np.exp(np.interp(mark, seconds, np.log(distances))))


def mean(values: list[float | None]) -> str:
    """Return a mean over seeds and half its 95 % interval (Student's t)."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    middle, half = interval(known)
    return f"{middle:.3g}" if half is None else f"{middle:.3g} ± {half:.2g}"


def figure(kept: list[dict[str, Any]], path: Path) -> None:
    """Draw every run's light cards over seconds, a colour a name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    colours: dict[str, str] = {}
    for row in kept:
        label = None if row["name"] in colours else row["name"]
        colour = colours.setdefault(row["name"], f"C{len(colours) % 10}")
        seconds, distances = [p[0] for p in row["curve"]], [p[2] for p in row["curve"]]
        axes.plot(seconds, distances, color=colour, label=label, linewidth=1.2, alpha=0.8)
    axes.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="Fréchet distance")
    axes.axhline(REAL, color="black", linestyle=":", linewidth=1, label="real images, 2,048 of them")
    ticks = [15, 30, 60, 120, 300, 600, 1800, 3600]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


REAL = 0.055  # what 2,048 real images have, by docs/scorecard.md


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("quality"), help="folder of the runs' JSON files")
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("recipe")
    runs.add_argument("--name", help="in tables; the recipe's")
    runs.add_argument("--first", type=int, default=0, help="seed")
    runs.add_argument("--seeds", type=int, default=1)
    runs.add_argument("--minutes", type=float)
    runs.add_argument("--images", type=int)
    runs.add_argument("--data", default="mnist", help="judged as mnist all the same")
    runs.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    peers = verbs.add_parser("peer")
    peers.add_argument("script", type=Path)
    peers.add_argument("--minutes", type=float, default=10)
    pages = verbs.add_parser("page")
    pages.add_argument("--names", nargs="*", help="in this order; all")
    pages.add_argument("--into", type=Path, default=FIGURES / "quality")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True, parents=True)
    machine = f"{hardware.cpu_name()}, PyTorch {torch.__version__}"
    about = {"machine": machine, "threads": torch.get_num_threads(), "commit": commit()}
    about["command"] = " ".join(["python benchmarks/quality.py", *sys.argv[1:]])
    if options.verb == "page":
        kept = [json.loads(path.read_text("utf-8")) for path in sorted(options.out.glob("*.json"))]
        if options.names:
            kept = [row for name in options.names for row in kept if row["name"] == name]
        options.into.with_suffix(".md").write_text(page(kept), "utf-8")
        figure(kept, options.into.with_suffix(".png"))
        return
    if options.verb == "peer":
        judged = peer(options.script, options.minutes)
        if not judged:
            sys.exit(f"{options.script}: ended, or was interrupted, before its time")
        found = {"name": "PyTorch-GAN dcgan.py", "seed": None, **about, **judged}
        (options.out / "peer.json").write_text(json.dumps(found), "utf-8")
        return
    name = options.name or options.recipe
    for seed in range(options.first, options.first + options.seeds):
        path = options.out / f"{name}-{seed}.json".replace(" ", "-")
        if path.exists():
            continue
        found = train(options.recipe, options.data, seed, options.minutes, options.images, options.set)
        path.write_text(json.dumps({"name": name, "seed": seed, **about, **found}), "utf-8")
        print(name, seed, f"{found['images']:,} images, {found['seconds']:.0f} s", found["card"], flush=True)


if __name__ == "__main__":
    main()
