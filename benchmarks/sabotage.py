"""Sabotage real images in ways a scorecard must see, and count how often it does.

    python benchmarks/sabotage.py --seeds 20 > docs/figures/sabotage.md

Every set is made of 1,000 held-out MNIST images, drawn anew for each seed; wants the real MNIST.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from mulligan import data, scorecard
from mulligan.data.dataset import Dataset
from mulligan.scorecard.source import Samples

Pixels = npt.NDArray[np.uint8]
N = 1000

Damage = Callable[[Dataset, Dataset, np.random.Generator], Pixels]


def pick(dataset: Dataset, rng: np.random.Generator, n: int = N) -> npt.NDArray[np.int64]:
    return rng.permutation(len(dataset))[:n]


def real(_train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    return test.images[pick(test, rng)]


def training_images(train: Dataset, _test: Dataset, rng: np.random.Generator) -> Pixels:
    return train.images[pick(train, rng)]


def a_digit_dropped(_train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    assert test.labels is not None
    kept = np.flatnonzero(test.labels != rng.integers(10))
    return np.asarray(test.images[rng.permutation(kept)[:N]])


def one_image_repeated(_train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    return np.repeat(test.images[pick(test, rng, 1)], N, axis=0)


def blurred(train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    images = real(train, test, rng)
    for image in images:
        image[0] = np.asarray(Image.fromarray(image[0]).filter(ImageFilter.GaussianBlur(1.2)))
    return images


def noisy(train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    images = real(train, test, rng)
    return (images + rng.normal(0, 40, images.shape)).round().clip(0, 255).astype(np.uint8)


def inverted(train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    return 255 - real(train, test, rng)


def wrong_range(train: Dataset, test: Dataset, rng: np.random.Generator) -> Pixels:
    """What −1..1 becomes when it is scaled as 0..1 is: the lower half lost, or all of it in the upper."""
    images = real(train, test, rng)
    how = rng.integers(3)
    if how == 0:
        return images // 255  # 0..1 cast without scaling
    if how == 1:
        return images // 2 + 128  # 0..1 taken for −1..1
    return images // 2


# What is done → the kinds of warning that name it; none for real images.
SETS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "held-out real images": (real, ()),
    "training images as samples": (training_images, ("near-copies",)),
    "one digit dropped": (a_digit_dropped, ("missing-class",)),
    "one image repeated": (one_image_repeated, ("low-diversity",)),
    "blurred, σ 1.2 pixels": (blurred, ("low-fidelity",)),
    "noise, σ 40 of 255": (noisy, ("low-fidelity",)),
    "inverted": (inverted, ("wrong-range",)),
    "wrong range": (wrong_range, ("wrong-range",)),
}


def warned(name: str, seed: int, train: Dataset, test: Dataset) -> tuple[list[str], float]:
    """Return the kinds of warning a set draws, and how many floors its Fréchet distance is."""
    rng = np.random.Generator(np.random.PCG64([seed, list(SETS).index(name)]))
    images = SETS[name][0](train, test, rng)
    card = scorecard.judge(
        Samples(images, None, None, "mnist"), scorecard.find("mnist"), name, thorough=False
    )
    distance = card.metrics["frechet"]
    return [warning.kind for warning in card.warnings], distance.value / (distance.floor or 1)


def caught(name: str, kinds: list[str]) -> bool:
    """Was the damage named; or, for real images, nothing said?"""
    expected = SETS[name][1]
    return set(expected) <= set(kinds) if expected else not kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    train, test = data.load("mnist"), data.load("mnist", split="test")
    print(f"| set of {N:,} images | caught as | right | also said | Fréchet distance / floor |")
    print("|---|---|---|---|---|")
    failed = 0
    for name, (_, expected) in SETS.items():
        begun = time.monotonic()
        found = [warned(name, seed, train, test) for seed in range(seeds)]
        right = sum(caught(name, kinds) for kinds, _ in found)
        failed += seeds - right
        others = sorted({kind for kinds, _ in found for kind in kinds} - set(expected))
        ratios = np.array([ratio for _, ratio in found])
        wanted = ", ".join(expected) or "no warning"
        print(
            f"| {name} | {wanted} | {right} of {seeds} | {', '.join(others) or '–'} | "
            f"{ratios.mean():,.1f} ± {ratios.std():,.1f} |",
            flush=True,
        )
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
