"""The scorecard: what was measured, how it stands against real images, and what to say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from mulligan.metrics.estimate import Estimate

Rating = Literal["good", "fair", "poor"]
Kind = Literal["missing-class", "near-copies", "low-diversity", "low-fidelity", "wrong-range"]
RATINGS: tuple[Rating, ...] = ("good", "fair", "poor")


@dataclass(frozen=True)
class Metric:
    """A metric, its 95 % interval, and what real images score; None where they have no such score."""

    value: float
    low: float
    high: float
    floor: float | None

    @classmethod
    def of(cls, estimate: Estimate, floor: float | None) -> Metric:
        """Put an estimate beside its floor."""
        return cls(estimate.value, estimate.low, estimate.high, floor)


@dataclass(frozen=True)
class Warning:
    """Something a user would want to be told before they trust a generator."""

    kind: Kind
    message: str


@dataclass(frozen=True)
class NearCopies:
    """How many images are all but copies of a training image.

    Attributes:
        count: Images.
        n: Of so many.
        floor_share: The share of held-out real images that count as such.
        floor_n: Of so many.
    """

    count: int
    n: int
    floor_share: float
    floor_n: int

    @property
    def share(self) -> float:
        """Images among all."""
        return self.count / self.n


def _times(good: float, fair: float) -> Callable[[Metric], Rating]:
    """A distance is rated by how many floors it is."""

    def rate(metric: Metric) -> Rating:
        if metric.floor is None:
            return "fair"
        return "good" if metric.value <= good * metric.floor else _fair(metric.value <= fair * metric.floor)

    return rate


def _short_of(good: float, fair: float) -> Callable[[Metric], Rating]:
    """A share is rated by how far below the floor it stays."""

    def rate(metric: Metric) -> Rating:
        if metric.floor is None:
            return "fair"
        short = metric.floor - metric.value
        return "good" if short <= good else _fair(short <= fair)

    return rate


def _above(good: float, fair: float) -> Callable[[Metric], Rating]:
    """Some metrics are rated by how far above the floor they lie."""

    def rate(metric: Metric) -> Rating:
        over = metric.value - (metric.floor or 0.0)
        return "good" if over <= good else _fair(over <= fair)

    return rate


def _part_of(good: float, fair: float) -> Callable[[Metric], Rating]:
    """A count is rated by what part of the floor it is."""

    def rate(metric: Metric) -> Rating:
        if not metric.floor:
            return "fair"
        part = metric.value / metric.floor
        return "good" if part >= good else _fair(part >= fair)

    return rate


def _fair(true: bool) -> Rating:
    return "fair" if true else "poor"


# Metric → (what a reader calls it, how it is rated).
METRICS: dict[str, tuple[str, Callable[[Metric], Rating]]] = {
    "frechet": ("Fréchet distance", _times(20, 200)),
    "frechet_infinity": ("  for endless samples", _times(30, 300)),
    "kernel_distance": ("kernel distance", _above(0.05, 0.5)),
    "sliced_wasserstein": ("sliced Wasserstein", _times(4, 12)),
    "precision": ("precision", _short_of(0.05, 0.25)),
    "recall": ("recall", _short_of(0.05, 0.25)),
    "density": ("density", _short_of(0.1, 0.4)),
    "coverage": ("coverage", _short_of(0.05, 0.25)),
    "classifier_score": ("classifier score", _short_of(0.25, 1.0)),
    "class_kl": ("class imbalance (KL)", _above(0.01, 0.1)),
    "label_agreement": ("label agreement", _short_of(0.01, 0.05)),
    "train_on_synthetic": ("train on it, test on real", _short_of(0.01, 0.05)),
    "memorisation": ("closer than held-out", _above(0.1, 0.25)),
    "path_length": ("latent path length", _times(3, 9)),
    "inception_fid": ("Inception FID", _above(5.0, 20.0)),
    "inception_kid": ("Inception KID", _above(0.01, 0.05)),
    "modes": ("modes found", _part_of(0.999, 0.95)),
    "mode_kl": ("imbalance of modes (KL)", _times(2, 10)),
    "high_quality": ("high-quality share", _short_of(0.02, 0.1)),
    "reverse_kl": ("imbalance of modes (KL)", _times(4, 40)),
}
DECISIVE = ("frechet", "precision", "recall", "coverage", "class_kl", "modes", "mode_kl", "high_quality")


@dataclass(frozen=True)
class Scorecard:
    """What is known of a set of images.

    Attributes:
        reference: What they are held against.
        n: How many images were judged.
        evaluator: Name, version and SHA-256; empty for points in a plane.
        metrics: By name, see docs/scorecard.md.
        class_histogram: Images of each class as the evaluator sees them; empty without classes.
        missing_classes: Labels of those that all but never occur.
        class_names: In the order of the labels; empty without classes.
        near_copies: None where the training images are not here.
        warnings: What to know before trusting the generator.
        absent: Rows that could not be measured, and why.
    """

    reference: str
    n: int
    evaluator: dict[str, str | int]
    metrics: dict[str, Metric]
    class_histogram: list[int] = field(default_factory=list)
    missing_classes: list[int] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    near_copies: NearCopies | None = None
    warnings: list[Warning] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def rating(self, name: str) -> Rating:
        """Rate one metric against its floor."""
        return METRICS[name][1](self.metrics[name])

    @property
    def verdict(self) -> Rating:
        """The worst rating among the decisive metrics; at best fair where there is a warning."""
        ratings = [self.rating(name) for name in DECISIVE if name in self.metrics]
        worst = max(map(RATINGS.index, ratings), default=0)
        return RATINGS[max(worst, 1 if self.warnings else 0)]

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON's types; schema 1."""
        copies = self.near_copies
        return {
            "schema": 1,
            "reference": self.reference,
            "n": self.n,
            "evaluator": self.evaluator,
            "metrics": {
                name: {"value": m.value, "low": m.low, "high": m.high, "floor": m.floor}
                for name, m in self.metrics.items()
            },
            "class_histogram": self.class_histogram,
            "missing_classes": self.missing_classes,
            "class_names": self.class_names,
            "near_copies": copies
            and {"count": copies.count, "share": copies.share, "floor_share": copies.floor_share},
            "warnings": [{"kind": w.kind, "message": w.message} for w in self.warnings],
            "absent": self.absent,
            "verdict": self.verdict,
        }

    def lines(self) -> list[str]:
        """Return the card as a table for people."""
        judge = f"{self.evaluator['name']} {self.evaluator['version']}" if self.evaluator else "modes known"
        head = f"{self.n:,} images against {self.reference}, judged by {judge}"
        rows = [head, "", f"{'':<28}{'value':>10}  {'95 % interval':<21}{'real images':>11}"]
        for name, m in self.metrics.items():
            interval = f"{number(m.low)} … {number(m.high)}"
            floor = "" if m.floor is None else number(m.floor)
            rows.append(
                f"{METRICS[name][0]:<28}{number(m.value):>10}  {interval:<21}{floor:>11}  {self.rating(name)}"
            )
        if self.near_copies:
            copies = self.near_copies
            rows.append(
                f"{'near copies of training':<28}{copies.count:>10,}  {f'{copies.share:.2%} of them':<21}"
                f"{f'{copies.floor_share:.2%}':>11}"
            )
        if self.class_histogram and len(self.class_histogram) <= 20:
            names = self.class_names or map(str, range(len(self.class_histogram)))
            named = zip(names, self.class_histogram, strict=True)
            rows += ["", "classes: " + "  ".join(f"{name}: {count:,}" for name, count in named)]
        rows += [f"not measured: {METRICS.get(name, (name,))[0]}: {why}" for name, why in self.absent.items()]
        rows += [f"warning: {w.kind}: {w.message}" for w in self.warnings]
        return [*rows, "", f"verdict: {self.verdict}"]


def number(value: float) -> str:
    """Write a number with three or four digits that matter."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, min(5, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}"
