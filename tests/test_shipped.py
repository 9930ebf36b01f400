"""The generator in the package draws at once, what it is asked for, and says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mulligan
from mulligan import scorecard
from mulligan.errors import UserError
from mulligan.model import SHIPPED, WEIGHTS
from support import command


def test_it_draws_straight_after_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("generate", "mnist", "-n", "64", "--labels", "7", "--out", "sevens.png") == 0
    assert Path("sevens.png").stat().st_size > 1000


def test_it_draws_without_a_compiler() -> None:
    """Which takes longer to import than all the rest."""
    drawing = (
        "import sys, mulligan; mulligan.load('mnist').sample(2); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", drawing], check=False).returncode == 0


def test_its_digits_are_those_asked_for() -> None:
    model = mulligan.load("mnist")
    judge = scorecard.find("mnist").evaluator
    images = model.sample(1000, seed=1)
    right = judge.judge(images).labels == np.arange(1000) % 10
    recorded = json.loads((WEIGHTS / "mnist.json").read_text("utf-8"))["metrics"]["label_agreement"]
    assert right.mean() > recorded["value"] - 0.02


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mnist").mkdir()
    with pytest.raises(UserError, match="no checkpoint here"):
        mulligan.load("mnist")


def test_what_is_shipped_is_small_and_described() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.values()) <= 8 << 20
    for name, path in SHIPPED.items():
        card = path.with_suffix(".md").read_text("utf-8")
        assert f"mulligan generate {name}" in card
        assert "Fréchet" in card or "frechet" in card
        assert "Limits" in card
