"""Which rule finds which illness, and which of them causes which.

Thresholds were chosen on runs that were made ill on purpose; docs/diagnosis.md says how often they are right.
"""

from __future__ import annotations

from collections.abc import Callable

from mulligan.doctor import contest, fakes, networks
from mulligan.doctor.chart import Chart
from mulligan.doctor.diagnosis import Kind
from mulligan.doctor.finding import Finding

Rule = Callable[[Chart], Finding | None]

# Causes before what they cause: of verdicts equally severe the first is the one to cure.
RULES: dict[Kind, Rule] = {
    "non-finite": networks.non_finite,
    "wrong-pixel-range": networks.wrong_range,
    "learning-rate-too-high": networks.too_high,
    "learning-rate-too-low": networks.too_low,
    "saturated-units": networks.saturated,
    "dead-units": networks.dead,
    "batchnorm-leak": networks.leak,
    "latent-ignored": fakes.ignored,
    "penalty-too-weak": contest.too_weak,
    "penalty-too-strong": contest.too_strong,
    "exploding-gradient": networks.exploding,
    "vanishing-generator-gradient": networks.vanishing,
    "oscillation": contest.swinging,
    "discriminator-overpowers": contest.overpowers,
    "mode-collapse": fakes.collapsed,
    "missing-classes": fakes.missing,
    "memorising": fakes.memorising,
    "undertrained": fakes.undertrained,
}
ORDER = tuple(RULES)
