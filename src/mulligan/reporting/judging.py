"""How good a run is, by the fullest card that is at hand, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mulligan.data.dataset import Dataset
from mulligan.data.synthetic import PLANES
from mulligan.reporting.facts import Facts
from mulligan.runlog import finite
from mulligan.scorecard import find, toys
from mulligan.scorecard.card import METRICS, Metric, number
from mulligan.scorecard.light import POINTS
from mulligan.scorecard.reference import SHIPPED

NO_VALUE = "–"


@dataclass(frozen=True)
class Row:
    """A metric as a table shows it."""

    name: str
    value: str
    interval: str
    floor: str
    rating: str


@dataclass(frozen=True)
class Judgement:
    """A card, and what is known of its classes.

    Attributes:
        about: What was judged, by what.
        full: Is it a full scorecard rather than a light one?
        notes: Warnings, and what was not measured.
        counts: Samples of each class; empty without classes.
        shares: The share of each class among real images, if it is known.
        missing: Classes that all but never occur.
        names: One for each class.
    """

    about: str
    full: bool
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    missing: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def judge(facts: Facts, dataset: Dataset | None) -> Judgement | None:
    """Return the full scorecard of a run, else its last light card; None without either."""
    if facts.card is not None:
        return _full(facts, facts.card, dataset)
    return _light(facts, dataset) if facts.light else None


def _full(facts: Facts, card: dict[str, Any], dataset: Dataset | None) -> Judgement:
    metrics = {
        name: Metric(m["value"], m["low"], m["high"], m.get("floor")) for name, m in card["metrics"].items()
    }
    warnings = [w for w in card.get("warnings", ()) if isinstance(w, dict)]
    absent = card.get("absent")
    notes = [f"{w.get('kind')}: {w.get('message')}" for w in warnings]
    notes += (
        [f"Not measured: {_called(k)}: {why}" for k, why in absent.items()]
        if isinstance(absent, dict)
        else []
    )
    copies = card.get("near_copies")
    if isinstance(copies, dict):
        share, floor = finite(copies.get("share")), finite(copies.get("floor_share"))
        if share is not None and floor is not None:
            notes.insert(
                0, f"Near copies of training images: {share:.2%}; of held-out real images {floor:.2%}."
            )
    about = f"{card.get('n', '?')} images against {card.get('reference', '?')}: {card.get('verdict', '?')}."
    counts, missing = _whole(card.get("class_histogram")), _whole(card.get("missing_classes"))
    shares = find("mnist").about.class_shares if card.get("reference") in SHIPPED else ()
    return Judgement(
        about,
        True,
        tuple(_row(name, metric) for name, metric in metrics.items()),
        tuple(notes),
        counts,
        _shares(counts, shares, dataset),
        missing,
        _own_names(card, counts) or _names(facts, counts),
    )


def _own_names(card: dict[str, Any], counts: tuple[int, ...]) -> tuple[str, ...]:
    """Return what the card's evaluator calls the classes; nothing where it does not say."""
    names = card.get("class_names")
    if not isinstance(names, list) or len(names) != len(counts):
        return ()
    return tuple(map(str, names))


def _light(facts: Facts, dataset: Dataset | None) -> Judgement:
    assert facts.light
    card = facts.light["card"]
    floors, shares = _floors(facts, card)
    rows = []
    for name in METRICS:
        value = finite(card.get(name))
        if value is not None:
            low, high = (finite(card.get(f"{name}_{end}")) for end in ("low", "high"))
            metric = Metric(
                value, value if low is None else low, value if high is None else high, floors.get(name)
            )
            rows.append(_row(name, metric, interval=low is not None and high is not None))
    counts, n = _whole(card.get("classes")), card.get("n")
    judged = f"{n:,} samples" if isinstance(n, int) else "Samples"
    about = (
        f"{judged} after {facts.light['images']:,} images, judged by {card.get('judge', '?')}: a light card."
    )
    return Judgement(
        about,
        False,
        tuple(rows),
        (),
        counts,
        _shares(counts, shares, dataset),
        _whole(card.get("missing")),
        _names(facts, counts),
    )


def _floors(facts: Facts, card: dict[str, Any]) -> tuple[dict[str, float], Sequence[float]]:
    """Return what real images score in a light card, as far as the package knows, and the classes' shares."""
    floors: dict[str, float] = {}
    shares: Sequence[float] = ()
    judge, n, about = card.get("judge"), card.get("n"), facts.meta.data
    if isinstance(judge, str) and judge in PLANES:
        return {name: found.value for name, found in toys.floors(str(judge), POINTS).items()}, ()
    if isinstance(n, int) and n > 0:
        reference = find("mnist")
        if reference.evaluator.about.name == judge and reference.suits(
            about.name, about.sha256, about.image_shape
        ):
            known = {name: reference.floor(name, n) for name in reference.about.floors}
            floors = {name: floor for name, floor in known.items() if floor is not None}
            shares = reference.about.class_shares
    own = finite(card.get("frechet_floor"))
    return floors | ({} if own is None else {"frechet": own}), shares


def _row(name: str, metric: Metric, *, interval: bool = True) -> Row:
    known = name in METRICS and metric.floor is not None
    return Row(
        _called(name),
        number(metric.value),
        f"{number(metric.low)} … {number(metric.high)}" if interval else NO_VALUE,
        NO_VALUE if metric.floor is None else number(metric.floor),
        METRICS[name][1](metric) if known else "",
    )


def _called(name: str) -> str:
    return METRICS[name][0].strip() if name in METRICS else name


def _whole(value: object) -> tuple[int, ...]:
    """Return a list of whole numbers that are no less than 0; nothing if it is anything else."""
    if not isinstance(value, list) or not all(isinstance(one, int) and one >= 0 for one in value):
        return ()
    return tuple(value)


def _shares(counts: tuple[int, ...], known: Sequence[float], dataset: Dataset | None) -> tuple[float, ...]:
    if len(known) == len(counts):
        return tuple(known)
    if counts and dataset is not None and dataset.labels is not None and dataset.classes == len(counts):
        return tuple(float((dataset.labels == i).mean()) for i in range(len(counts)))
    return ()


def _names(facts: Facts, counts: tuple[int, ...]) -> tuple[str, ...]:
    names = facts.meta.data.class_names
    return names if len(names) == len(counts) else tuple(str(i) for i in range(len(counts)))
