"""What the doctor says of a run: verdicts, their evidence, and what to change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

SCHEMA = 1

Severity = Literal["critical", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note")

Kind = Literal[
    "non-finite",
    "wrong-pixel-range",
    "exploding-gradient",
    "learning-rate-too-high",
    "saturated-units",
    "dead-units",
    "batchnorm-leak",
    "penalty-too-strong",
    "penalty-too-weak",
    "vanishing-generator-gradient",
    "discriminator-overpowers",
    "latent-ignored",
    "mode-collapse",
    "missing-classes",
    "memorising",
    "oscillation",
    "learning-rate-too-low",
    "undertrained",
]


@dataclass(frozen=True)
class Advice:
    """One change of the recipe.

    Attributes:
        set: ``path.to.key=value``, as ``--set`` takes it; empty where the cure is not in the recipe.
        why: The reason, in a sentence.
        source: A paper or a page.
    """

    set: str
    why: str
    source: str


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        text: The figures in a sentence.
        figures: The same by name.
        pictures: At most two files of the run directory, relative to it: before, and with the disease.
    """

    text: str
    figures: dict[str, float]
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One thing that is wrong with a run.

    Attributes:
        kind: Its name.
        severity: ``critical``: the run is lost from the onset on; ``warning``: it is not what it could be;
            ``note``: worth knowing, and no fault.
        onset_images: Images seen when it first showed.
        evidence: What it rests on.
        cause: Why it happens, in plain words.
        advice: What to change, the most promising first.
    """

    kind: Kind
    severity: Severity
    onset_images: int
    evidence: Evidence
    cause: str
    advice: tuple[Advice, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """What to set, all of it together; empty where the cure is not in the recipe."""
        return tuple(advice.set for advice in self.advice if advice.set)

    @property
    def by_reason(self) -> list[tuple[list[str], str, str]]:
        """What to set, why and by which source: changes of one reason together."""
        reasons = groupby(self.advice, lambda advice: (advice.why, advice.source))
        return [([one.set for one in some if one.set], why, source) for (why, source), some in reasons]


@dataclass(frozen=True)
class Diagnosis:
    """All that is wrong with a run, the most important first."""

    verdicts: tuple[Verdict, ...]

    @property
    def worst(self) -> Verdict | None:
        """The first thing to cure; None where nothing is wrong but what is only worth knowing."""
        return next((verdict for verdict in self.verdicts if verdict.severity != "note"), None)

    @property
    def healthy(self) -> bool:
        """Is nothing wrong but what is only worth knowing?"""
        return self.worst is None

    def as_dict(self) -> dict[str, Any]:
        """Return what ``mulligan doctor --json`` writes."""
        return {"schema": SCHEMA, "healthy": self.healthy, "verdicts": [asdict(v) for v in self.verdicts]}
