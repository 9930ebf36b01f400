"""The doctor: a run's log → verdicts → advice."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from mulligan import runlog
from mulligan.doctor.causes import CAUSES
from mulligan.doctor.chart import Chart
from mulligan.doctor.diagnosis import SEVERITIES, Advice, Diagnosis, Evidence, Kind, Verdict
from mulligan.doctor.prescriptions import prescribe
from mulligan.doctor.rules import RULES
from mulligan.recipe import Recipe, read
from mulligan.runlog import Row

__all__ = ["Advice", "Diagnosis", "Evidence", "Kind", "Verdict", "diagnose", "examine"]


def examine(run: str | PathLike[str]) -> Diagnosis:
    """Say what is wrong with a run, finished or in progress, from its directory alone.

    Raises:
        UserError: it is no run, or is damaged.
    """
    directory = runlog.there(run)
    running = runlog.busy(directory)
    rows = runlog.rows_so_far(directory) if running else runlog.rows(directory)
    return diagnose(read(directory / runlog.RECIPE), rows, directory, running=running)


def diagnose(
    recipe: Recipe, rows: Sequence[Row], run: Path | None = None, *, running: bool = False
) -> Diagnosis:
    """Say what is wrong with a run by the rows of its log so far; ``run`` is where its pictures are.

    One that is still ``running`` cannot have had too little.
    """
    chart = Chart(recipe, rows)
    verdicts = []
    for kind, rule in RULES.items():
        finding = rule(chart)
        if finding is None or (running and kind == "undertrained"):
            continue
        evidence = Evidence(finding.text, finding.figures, _pictures(run, finding.onset) if run else ())
        advice = prescribe(kind, recipe, finding.figures)
        verdicts.append(Verdict(kind, finding.severity, finding.onset, evidence, CAUSES[kind], advice))
    return Diagnosis(tuple(sorted(verdicts, key=lambda verdict: SEVERITIES.index(verdict.severity))))


def _pictures(run: Path, onset: int) -> tuple[str, ...]:
    """Name the last picture before an onset, and the last of all."""
    found = runlog.pictures(run / runlog.SAMPLES)
    before = [picture for images, picture in found if images < onset][-1:]
    chosen = dict.fromkeys([*before, *(picture for _, picture in found[-1:])])
    return tuple(f"{runlog.SAMPLES}/{picture.name}" for picture in chosen)
