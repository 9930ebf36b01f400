"""A run's log as curves: what was logged, in panels, thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mulligan.runlog import Row, finite

POINTS = 60_000  # in all curves of a page together
MOST = 400  # in a curve
FEWEST = 60
PANELS = 60
IN_A_PANEL = 24
LOG = 30.0  # a panel that spans more than this factor begins with a logarithmic scale

KNOWN = ("images", "step", "time", "card", "vitals", "d_loss", "g_loss", "d_real", "d_fake")
CARD_PANELS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Fréchet distance", (("frechet", "Fréchet distance"),)),
    ("Precision and recall", (("precision", "precision"), ("recall", "recall"), ("coverage", "coverage"))),
    ("Modes found", (("modes", "modes"),)),
    ("High-quality share", (("high_quality", "high-quality share"),)),
    ("Class imbalance (KL)", (("class_kl", "KL"),)),
)
# Panel → the vital signs in it and what each is called there; any other sign gets a panel of its own.
VITALS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Losses without penalties",
        {
            "d_loss": "D",
            "g_loss": "G",
            "penalty": "penalty",
            "d_equilibrium": "D, where fakes equal reals",
            "g_equilibrium": "G, where fakes equal reals",
            "d_chance": "D, by chance",
            "g_chance": "G, by chance",
        },
    ),
    ("D's scores", {"real_score": "of reals", "fake_score": "of fakes"}),
    ("Does D tell them apart?", {
            "separation": "chance that a real scores above a fake",
            "real_accuracy": "reals that it knows",
            "fake_accuracy": "fakes that it knows",
        }),
    ("Slope of D at reals", {"slope": "‖∇D‖"}),
    ("Norms of gradients", {"d_grad": "D", "g_grad": "G"}),
    ("Size of an update, as a share of the weights", {"d_update": "D", "g_update": "G"}),
    ("Size of the weights", {"d_weight": "D", "g_weight": "G"}),
    ("Dead units, a share", {"d_dead": "D", "g_dead": "G"}),
    ("Saturated units, a share", {"d_saturated": "D", "g_saturated": "G"}),
    ("Diversity, reals have 1", {"diversity": "of fakes", "latent_effect": "of fakes of one label"}),
    ("Energy distance of pixels", {"energy": "fakes from reals"}),
    ("Pixels at the ends of the range, a share", {"fake_edge": "of fakes", "real_edge": "of reals"}),
    (
        "Range of pixels",
        {
            "fake_low": "fakes, low",
            "fake_high": "fakes, high",
            "real_low": "reals, low",
            "real_high": "reals, high",
        },
    ),
    ("What the rest of a batch changes", {"batch_effect": "in an image", "d_batch_effect": "in D's answer"}),
    ("Closer to a training image than another one is", {"closer": "chance"}),
)  # fmt: skip
MEASURED = {"largest_pixel": "Largest pixel", "d_of_fake": "D(G(z)), measured anew"}
# What lies between 0 and 1 by its nature, or counts, is looked at on a plain scale to begin with.
PLAIN = {
    *("D's mean answers", "D(G(z)), measured anew", "Largest pixel", "Precision and recall", "Modes found"),
    *("High-quality share", "Does D tell them apart?", "Dead units, a share", "Saturated units, a share"),
    *("Pixels at the ends of the range, a share", "Closer to a training image than another one is"),
}
LAYERS = {
    "d_grads": "Norms of D's gradients by layer",
    "g_grads": "Norms of G's gradients by layer",
    "d_updates": "Size of D's updates by layer",
    "g_updates": "Size of G's updates by layer",
}


@dataclass
class Series:
    """One curve; None where there is a gap.

    Attributes:
        x: Images seen.
        low: With ``high`` a band around it; empty without.
        colour: Which of the page's eight.
        dash: Which of its four strokes.
    """

    name: str
    x: list[float]
    y: list[float | None]
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    colour: int = 0
    dash: int = 0

    @property
    def drawn(self) -> bool:
        """Is there anything to draw?"""
        return any(value is not None for value in self.y)


@dataclass
class Panel:
    """Curves that share their axes.

    Attributes:
        group: The heading it stands under.
        floor: What real images have, if that is known.
        unit: Of the horizontal axis.
    """

    title: str
    group: str
    series: list[Series]
    floor: float | None = None
    unit: str = "images seen"

    def plain(self, points: int) -> dict[str, Any]:
        """Return what the page's script draws, with so many points in a curve at the most."""
        thinned = [thin(series, points) for series in self.series]
        values = [abs(y) for series in thinned for y in series.y if y]
        signs = {y > 0 for series in thinned for y in series.y if y is not None}
        return {
            "title": self.title,
            "unit": self.unit,
            "floor": self.floor,
            "positive": signs == {True},
            "log": signs == {True} and max(values) > LOG * min(values) and self.title not in PLAIN,
            "series": [
                {
                    "name": series.name,
                    "x": [_short(x) for x in series.x],
                    "y": [_short(y) for y in series.y],
                    "low": [_short(y) for y in series.low],
                    "high": [_short(y) for y in series.high],
                    "colour": series.colour,
                    "dash": series.dash,
                }
                for series in thinned
            ],
        }


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Return everything that a log can show, in the order in which it is looked at."""
    logged = [row for row in rows if "d_loss" in row]
    found = [
        _panel("Losses", "Training", logged, {"d_loss": "D", "g_loss": "G"}, _top),
        _panel("D's mean answers", "Training", logged, {"d_real": "D(real)", "d_fake": "D(fake)"}, _top),
        *(
            _panel(MEASURED.get(name, _words(name)), "Training", logged, {name: _words(name)}, _top)
            for name in _names(logged)
            if name not in KNOWN
        ),
        *_of_cards(rows),
        *_of_vitals([row for row in rows if isinstance(row.get("vitals"), dict)]),
    ]
    return [panel for panel in found if panel.series][:PANELS]


def points(found: Sequence[Panel]) -> int:
    """Return how many points a curve may have, so that a page with many remains small."""
    return max(FEWEST, min(MOST, POINTS // max(1, sum(len(panel.series) for panel in found))))


def thin(series: Series, most: int) -> Series:
    """Keep the least and the greatest value of each stretch, so that no spike goes missing."""
    n = len(series.y)
    if n <= most:
        return series
    values = np.array([np.nan if y is None else y for y in series.y], dtype=np.float64)
    kept = {0, n - 1}
    for part in np.array_split(np.arange(n), max(1, (most - 2) // 2)):
        inside = values[part]
        if np.isnan(inside).any():
            kept.add(int(part[np.isnan(inside).argmax()]))  # a gap stays one
        if not np.isnan(inside).all():
            kept |= {int(part[np.nanargmin(inside)]), int(part[np.nanargmax(inside)])}
    order = sorted(kept)
    x, y, low, high = (
        [of[i] for i in order] if of else [] for of in (series.x, series.y, series.low, series.high)
    )
    return Series(series.name, x, y, low, high, series.colour, series.dash)  # type: ignore[arg-type]


def _top(row: Row, name: str) -> object:
    return row.get(name)


def _of_card(row: Row, name: str) -> object:
    return row["card"].get(name)


def _of_sign(row: Row, name: str) -> object:
    return row["vitals"].get(name)


def _panel(
    title: str, group: str, rows: Sequence[Row], names: dict[str, str], value: Callable[[Row, str], object]
) -> Panel:
    x = [float(row["images"]) for row in rows]
    every = [
        Series(label, x, [finite(value(row, name)) for row in rows], colour=i % 8, dash=i // 8 % 4)
        for i, (name, label) in enumerate(list(names.items())[:IN_A_PANEL])
    ]
    return Panel(title, group, [series for series in every if series.drawn])


def _names(rows: Sequence[Row]) -> list[str]:
    """Name every numeric entry of some rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key, value in row.items() if finite(value) is not None))


def _of_cards(rows: Sequence[Row]) -> Iterator[Panel]:
    judged = [row for row in rows if isinstance(row.get("card"), dict)]
    for title, metrics in CARD_PANELS:
        panel = _panel(title, "Scorecards", judged, dict(metrics), _of_card)
        if metrics[0][0] == "frechet" and panel.series:
            low, high = (
                [finite(row["card"].get(f"frechet_{end}")) for row in judged] for end in ("low", "high")
            )
            panel.series[0].low, panel.series[0].high = low, high
            floors = [finite(row["card"].get("frechet_floor")) for row in judged]
            panel.floor = next((floor for floor in reversed(floors) if floor), None)
        yield panel


def _of_vitals(rows: Sequence[Row]) -> Iterator[Panel]:
    """Yield what the vital signs say: those that belong together, then the others, then those by layer."""
    group = "Vital signs"
    signs = [row["vitals"] for row in rows]
    plain = _names(signs)
    for title, names in VITALS:
        yield _panel(title, group, rows, names, _of_sign)
    told = {name for _, names in VITALS for name in names}
    for name in plain:
        if name not in told:
            yield _panel(_words(name), group, rows, {name: _words(name)}, _of_sign)
    layered = dict.fromkeys(
        name for of in signs for name, value in of.items() if isinstance(value, dict | list)
    )
    for name in layered:
        parts = [_layers(of.get(name)) for of in signs]
        layers = dict.fromkeys(layer for of in parts for layer in of)
        x = [float(row["images"]) for row in rows]
        title = LAYERS.get(name, f"{_words(name)}, each")
        series = [
            Series(layer, x, [finite(of.get(layer)) for of in parts], colour=i % 8, dash=i // 8 % 4)
            for i, layer in enumerate(list(layers)[:IN_A_PANEL])
        ]
        if len(layers) > IN_A_PANEL:
            title += f", the first {IN_A_PANEL} of {len(layers):,}"
        yield Panel(title, group, [one for one in series if one.drawn])


def _layers(value: object) -> dict[str, object]:
    """Return the numbers below a sign, by layer or by place."""
    if isinstance(value, dict):
        return {str(key): of for key, of in value.items()}
    return {f"{i + 1}": of for i, of in enumerate(value)} if isinstance(value, list) else {}


def _words(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _short(value: float | None) -> float | int | None:
    """Write a number with the digits that a screen can show."""
    if value is None:
        return None
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.5g}")
