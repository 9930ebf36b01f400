"""What is due when, and what has which value: functions of images seen, and of nothing else.

A run that was interrupted and resumed therefore prints, draws and saves at the same moments as
one that was not.
"""

from __future__ import annotations

from mulligan.recipe import Cadence, Curve


def value(curve: float | Curve, images: int) -> float:
    """Return what a number or a curve of the recipe is worth after so many images."""
    return curve.at(images) if isinstance(curve, Curve) else curve


def due(cadence: Cadence, before: int, after: int) -> bool:
    """Tell whether the update that took images seen from ``before`` to ``after`` is on the cadence.

    ``from-zero`` counts as a loop over ``i = 0, 1, 2 …`` does: the first update is a multiple.
    ``from-one`` counts finished updates. Past ``most`` moments the spacing doubles, and again
    whenever the run has doubled, so that one far past its budget does not fill a disk.
    """
    if cadence.every == 0:
        return False
    spacing = cadence.every
    while before >= cadence.most * spacing:
        spacing *= 2
    if cadence.counts == "from-zero":
        return before == 0 or (after - 1) // spacing > (before - 1) // spacing
    return after // spacing > before // spacing or (cadence.first and before == 0)
