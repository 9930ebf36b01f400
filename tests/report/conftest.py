"""A run to report on, and one that was tampered with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mulligan
from mulligan import doctor
from mulligan.doctor import Advice, Diagnosis, Evidence, Verdict
from mulligan.recipe import Recipe
from mulligan.runlog import Row

TINY = (
    *("generator.hidden=[8]", "discriminator.hidden=[8]", "data.batch=32", "log.every=32"),
    *("checkpoint.every=256", "samples.every=128", "card.every=256", "card.n=256", "log.examinations=0"),
)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "first"
    made = mulligan.train("mlp-relu", data="digits", images=512, seed=7, out=out, overrides=TINY)
    return made.directory


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed at will."""
    return shutil.copytree(run, tmp_path / "copy")


def logged(run: Path, *rows: dict[str, Any]) -> None:
    """Put rows at the end of a log."""
    with (run / "log.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def vitals(images: int) -> dict[str, Any]:
    """Make a row of vital signs as training logs them, some of them missing."""
    return {
        "images": images,
        "step": images // 32,
        "vitals": {
            "d_grad": 1 / (1 + images),
            "g_grad": None if images == 64 else 0.5,
            "d_grads": {"layers.0.weight": 0.1 * images, "layers.0.bias": 2.0},
            "centre": [0.5, -0.25],
            "never_heard_of": 3.0,
        },
        "time": {"seconds": 1.0},
    }


def collapse(_recipe: Recipe, _rows: Sequence[Row], run: Path | None = None, **_more: object) -> Diagnosis:
    """Diagnose a collapse, with pictures of the run; nothing of one that is being trained."""
    if run is None:
        return Diagnosis(())
    first, *_, last = sorted((run / "samples").glob("*.png"))
    pictures = (first.relative_to(run).as_posix(), last.relative_to(run).as_posix())
    cures = (
        Advice("discriminator.pack=2", "D sees two at once.", "PacGAN"),
        Advice("latent.size=200", "More room.", ""),
    )
    evidence = Evidence("Samples differ by 2 % of what real images do.", {"diversity": 0.02}, pictures)
    return Diagnosis(
        (
            Verdict("mode-collapse", "critical", 256, evidence, "One picture fools D.", cures),
            Verdict("undertrained", "note", 512, Evidence("It was short.", {}), "Few images.", ()),
        )
    )


@pytest.fixture
def sick(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with vital signs that the doctor finds ill."""
    logged(copy, *map(vitals, range(0, 513, 64)))
    monkeypatch.setattr(doctor, "diagnose", collapse)
    return copy
