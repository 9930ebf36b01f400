"""A classifier that learns from images is judged by the real ones."""

from __future__ import annotations

import numpy as np
import pytest

from mulligan import data
from mulligan.scorecard import transfer


def test_what_is_learned_from_real_images_is_most_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "STEPS", 60)
    digits = data.load("digits", size=16)
    assert digits.labels is not None
    real = transfer.learn_from(digits.images, digits.labels, digits)
    wrong = transfer.learn_from(digits.images, np.roll(digits.labels, 1), digits)
    assert real.value > 0.8
    assert wrong.value < 0.3
