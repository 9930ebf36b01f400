"""What a user would want to be told before they trust a set of images."""

from __future__ import annotations

from collections.abc import Sequence

from mulligan.metrics.estimate import wilson
from mulligan.scorecard.card import Metric, NearCopies, Scorecard, Warning
from mulligan.scorecard.reference import Profile, Reference


def of_range(found: Profile, real: Profile) -> list[Warning]:
    """Warn of pixels that span another range than real ones do: a wrong scale, or black for white."""
    span = real.high - real.low
    text = (
        f"the darkest, brightest and mean pixel are {found.low:.0f}, {found.high:.0f} and "
        f"{found.mean:.0f} of 255, in real images {real.low:.0f}, {real.high:.0f} and {real.mean:.0f}"
    )
    inverted = abs(255 - found.mean - real.mean) < abs(found.mean - real.mean) / 2
    if inverted:
        return [Warning("wrong-range", f"{text}: black and white look exchanged")]
    if found.high - found.low < 0.6 * span or found.low > real.low + 0.2 * span:
        return [Warning("wrong-range", f"{text}: were they scaled to another range?")]
    return []


def of_fidelity(metrics: dict[str, Metric]) -> list[Warning]:
    """Warn when images do not look like real ones."""
    precision, frechet = metrics["precision"], metrics["frechet"]
    reasons = []
    if precision.high < 0.75 * (precision.floor or 0):
        reasons.append(
            f"precision {precision.value:.2f}: so many look real; of real ones {precision.floor:.2f}"
        )
    if frechet.floor is not None and frechet.low > 100 * frechet.floor:
        reasons.append(
            f"the Fréchet distance is {frechet.value / frechet.floor:,.0f} times that of real images"
        )
    return [Warning("low-fidelity", "; ".join(reasons))] if reasons else []


def of_diversity(metrics: dict[str, Metric], repeated: int, n: int) -> list[Warning]:
    """Warn when images are much alike."""
    recall, reasons = metrics["recall"], []
    if recall.high < 0.6 * (recall.floor or 0):
        reasons.append(
            f"recall {recall.value:.2f}: so much of what real images show occurs; "
            f"in other real ones {recall.floor:.2f}"
        )
    if repeated > 0.01 * n:
        reasons.append(f"{repeated:,} of {n:,} images repeat another exactly")
    return [Warning("low-diversity", "; ".join(reasons))] if reasons else []


def of_copies(copies: NearCopies | None) -> list[Warning]:
    """Warn when near copies are clearly more frequent than among held-out real images."""
    if copies is None:
        return []
    usual = wilson(round(copies.floor_share * copies.floor_n), copies.floor_n).high
    if wilson(copies.count, copies.n).low <= 2 * usual:
        return []
    return [
        Warning(
            "near-copies",
            f"{copies.count:,} of {copies.n:,} images ({copies.share:.1%}) are all but copies of a training "
            f"image; of held-out real images {copies.floor_share:.2%} are",
        )
    ]


def of_missing(missing: Sequence[int], names: Sequence[str]) -> list[Warning]:
    """Warn of classes that all but never occur."""
    if not missing:
        return []
    listed = ", ".join(names[i] for i in missing[:10]) + (", …" if len(missing) > 10 else "")
    return [
        Warning(
            "missing-class",
            f"{len(missing)} of {len(names)} classes occur less than a quarter as often as they should: "
            f"{listed}",
        )
    ]


def of_all(card: Scorecard, found: Profile, reference: Reference, repeated: int) -> list[Warning]:
    """Return what a card, and the pixels behind it, give reason to warn of."""
    return [
        *of_missing(card.missing_classes, reference.evaluator.about.class_names),
        *of_copies(card.near_copies),
        *of_range(found, reference.about.pixels),
        *of_fidelity(card.metrics),
        *of_diversity(card.metrics, repeated, card.n),
    ]
