"""Write docs/diagnosis.md and its pictures: every illness as a run that was made ill showed it.

    python benchmarks/diagnose.py run --first 1 --seeds 1 --out diagnose
    python scripts/make_diagnosis_page.py diagnose

Causes and advice are those of the code; figures and pictures are those of one run of each kind, seed 1. What
stands before the first illness in the page is kept as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from mulligan import doctor, recipe, runlog
from mulligan.doctor.causes import CAUSES
from mulligan.doctor.rules import ORDER

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "diagnosis.md"
SEED = "1"
WIDTH, HEIGHT = 480, 240  # at most, of a picture
SIGNS = {
    "non-finite": "The run ends; its last checkpoint is from before.",
    "wrong-pixel-range": "The range of real pixels is a fraction of what the generator can paint.",
    "learning-rate-too-high": "The first of Adam's updates changes a tenth of the weights and more; or the "
    "weights have grown threefold by the next examination.",
    "learning-rate-too-low": "No update ever changes a weight by more than a few ten-thousandths.",
    "saturated-units": "Half of the hidden tanh values and more lie beyond ±0.97; or a generator that D sees "
    "through paints one picture at the ends of its range.",
    "dead-units": "Half of the rectified units and more answer 0 to all of 64 images.",
    "batchnorm-leak": "One latent's image changes when the rest of its batch does.",
    "latent-ignored": "Two latents' images hardly differ, from the start.",
    "penalty-too-weak": "D's slope is above what the penalty asks for, or the penalty is next to nothing.",
    "exploding-gradient": "D's answers are in the hundreds and grow, or gradients have grown a hundredfold.",
    "vanishing-generator-gradient": "D is sure, and the generator's gradient has all but gone.",
    "penalty-too-strong": "D cannot tell reals from fakes that differ, or the penalty outweighs its loss.",
    "oscillation": "The fakes' mean, or the level of D's answers, swings from one examination to the next.",
    "discriminator-overpowers": "D is sure of every image, and fakes stay far from reals.",
    "mode-collapse": "Two fakes differ by less than a quarter of what two reals do, or modes are missing.",
    "missing-classes": "Card after card some classes are hardly seen, though most others have come.",
    "memorising": "In sets of up to 5,000: fakes lie nearer to training images than those to each other.",
    "undertrained": "The Fréchet distance still falls, or updates were few. No fault.",
}


def example(folder: Path, kind: str) -> Path:
    """Return the run of a kind to show: the first of which that is the doctor's first word."""
    runs = sorted(folder.glob(f"{kind}/*/{SEED}"))
    return next(run for run in runs if [v.kind for v in doctor.examine(run).verdicts][:1] == [kind])


def picture(run: Path, kind: str) -> str:
    """Put a run's last picture among those of the docs; return its line, or nothing where there is none."""
    grid = run / runlog.GRID
    source = grid if grid.exists() else max(run.glob(f"{runlog.SAMPLES}/*.png"), default=None)
    if source is None:
        return ""
    with Image.open(source) as found:
        whole = found.convert("L")
    part = whole.crop((0, 0, min(WIDTH, whole.width), min(HEIGHT, whole.height)))
    part.quantize(32).save(DOCS / "pictures" / f"ill-{kind}.png", optimize=True)
    return f"![What a run with {kind} paints](pictures/ill-{kind}.png)\n\n"


def told(data: str) -> str:
    """Say in words what a benchmark's data is."""
    way, _, number = data.partition("-")
    words = {
        "few": f"the first {number} images of MNIST",
        "dim": f"MNIST with its pixels divided by {number}",
    }
    return words.get(way, data)


def section(folder: Path, kind: doctor.Kind) -> str:
    """Return what the page says of one illness."""
    run = example(folder, kind)
    verdict = next(v for v in doctor.examine(run).verdicts if v.kind == kind)
    made, name = recipe.read(run / runlog.RECIPE), run.parent.name.partition("_")[0]
    quiet = ("card.", "checkpoint.", "samples.")
    changed = [line for line in recipe.differences(recipe.read(name), made) if not line.startswith(quiet)]
    data = told(runlog.data_name(run))
    how = f"`{name}` on {data}, {runlog.rows(run)[-1]['images']:,} images" + (
        f"; {'; '.join(changed)}" if changed else ""
    )
    advice = ""
    for changes, why, source in verdict.by_reason:
        sets = ", ".join(f"`{change}`" for change in changes)
        advice += f"- {sets}: {why} ({source})\n" if sets else f"- {why}\n"
    return (
        f"## {kind}\n\n{picture(run, kind)}*{how}.*\n\n{SIGNS[kind]} Here: {verdict.evidence.text} "
        f"(since {verdict.onset_images:,} images).\n\n**Why.** {CAUSES[kind]}\n\n"
        f"**What to change, in this recipe.**\n\n{advice}"
    )


def main() -> None:
    folder = Path(sys.argv[1])
    head = PAGE.read_text("utf-8").partition("\n## ")[0].rstrip()
    sections = "\n".join(section(folder, kind) for kind in ORDER)
    PAGE.write_text(f"{head}\n\n{sections}", "utf-8")


if __name__ == "__main__":
    main()
