"""Which rule finds which illness, and which of them causes which.

Thresholds were chosen on runs that were made ill on purpose; docs/diagnosis.md says how often they are right.
"""

from __future__ import annotations

from collections.abc import Callable

from mulligan.doctor import contest, fakes, networks
from mulligan.doctor.chart import Chart
from mulligan.doctor.diagnosis import Kind
from mulligan.doctor.finding import Finding

# Causes before what they cause: of verdicts equally severe the first is the one to cure.
ORDER: tuple[Kind, ...] = (
    "non-finite",
    "wrong-pixel-range",
    "learning-rate-too-high",
    "learning-rate-too-low",
    "saturated-units",
    "dead-units",
    "batchnorm-leak",
    "latent-ignored",
    "penalty-too-weak",
    "exploding-gradient",
    "vanishing-generator-gradient",
    "penalty-too-strong",
    "oscillation",
    "discriminator-overpowers",
    "mode-collapse",
    "missing-classes",
    "memorising",
    "undertrained",
)

Rule = Callable[[Chart], Finding | None]

RULES: dict[Kind, Rule] = {
    "non-finite": networks.non_finite,
    "wrong-pixel-range": networks.wrong_range,
    "exploding-gradient": networks.exploding,
    "learning-rate-too-high": networks.too_high,
    "learning-rate-too-low": networks.too_low,
    "saturated-units": networks.saturated,
    "batchnorm-leak": networks.leak,
    "vanishing-generator-gradient": networks.vanishing,
    "penalty-too-strong": contest.too_strong,
    "penalty-too-weak": contest.too_weak,
    "latent-ignored": fakes.ignored,
    "dead-units": networks.dead,
    "oscillation": contest.swinging,
    "discriminator-overpowers": contest.overpowers,
    "mode-collapse": fakes.collapsed,
    "missing-classes": fakes.missing,
    "memorising": fakes.memorising,
    "undertrained": fakes.undertrained,
}
