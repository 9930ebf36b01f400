"""Cards for sets whose modes are known: points in a plane, and stacked digits."""

from __future__ import annotations

import numpy as np

from mulligan.data.synthetic import PLANES
from mulligan.errors import UserError
from mulligan.evaluator import Evaluator
from mulligan.metrics import classes, points
from mulligan.metrics.estimate import Estimate
from mulligan.scorecard.card import Metric, Scorecard
from mulligan.scorecard.source import Samples

STACKED = "stacked-mnist"
FLOOR_SEED = 1  # the points that floors are measured on are not those a run trains on


def judge_points(samples: Samples, name: str) -> Scorecard:
    """Count modes and points of high quality, as PacGAN does.

    Raises:
        UserError: the samples are not points.
    """
    if not samples.are_points:
        raise UserError(f"--reference {name} is of points in a plane, the samples are images")
    flat = samples.images.reshape(len(samples.images), -1).astype(np.float64)
    if flat.shape[1] != 2 or not np.isfinite(flat).all():
        raise UserError(f"--reference {name}: expected finite points [N, 2, 1, 1]")
    real = floors(name, len(flat))
    found = points.toy(flat, PLANES[name].centres, PLANES[name].std)
    metrics = {key: Metric.of(estimate, real[key].value) for key, estimate in found.items()}
    return Scorecard(name, len(flat), {}, metrics)


def floors(name: str, n: int) -> dict[str, Estimate]:
    """Measure so many real points of a set in the plane."""
    plane = PLANES[name]
    real = plane.draw(n, seed=FLOOR_SEED)[0].reshape(n, 2).astype(np.float64)
    return points.toy(real, plane.centres, plane.std)


def judge_stacked(samples: Samples, evaluator: Evaluator, device: str) -> Scorecard:
    """Count the modes of digits stacked as colours: the evaluator names each channel.

    Raises:
        UserError: the images are not 3×28×28.
    """
    images = samples.images
    if samples.are_points or images.shape[1:] != (3, 28, 28):
        raise UserError(f"--reference {STACKED}: expected images of 3×28×28, got {list(images.shape[1:])}")
    n, channels = images.shape[:2]
    digits = evaluator.judge(np.ascontiguousarray(images.reshape(n * channels, 1, 28, 28)), device).labels
    possible = 10**channels
    found = classes.mode_coverage(classes.mode_codes(digits.reshape(n, channels)), possible)
    floors = {
        "modes": possible * (1 - (1 - 1 / possible) ** n),
        "mode_kl": classes.perfect_mode_kl(n, possible, 0),
    }
    metrics = {key: Metric.of(value, floors[key]) for key, value in found.items()}
    about = evaluator.about
    return Scorecard(
        STACKED,
        n,
        {"name": about.name, "version": about.version, "sha256": evaluator.sha256},
        metrics,
    )
