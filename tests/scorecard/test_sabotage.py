"""What is wrong with a set of images is named, and what is right is left alone.

``benchmarks/sabotage.py`` does the same with 20 seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mulligan import data
from mulligan.data.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import sabotage

pytestmark = pytest.mark.mnist


@pytest.fixture(scope="module")
def mnist() -> tuple[Dataset, Dataset]:
    return data.load("mnist"), data.load("mnist", split="test")


@pytest.mark.parametrize("name", sabotage.SETS)
def test_sabotage_is_caught(name: str, mnist: tuple[Dataset, Dataset]) -> None:
    kinds, _ = sabotage.warned(name, 100, *mnist)
    assert sabotage.caught(name, kinds), kinds
