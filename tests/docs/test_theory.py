"""docs/theory.md shows what its script draws, and its tables are what the code says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mulligan import build, sampler

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
SHOWN = set(re.findall(r"\]\(pictures/(theory-[\w-]+\.png)\)", PAGE))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_theory_figures

    yield make_theory_figures
    sys.modules.pop("make_theory_figures", None)


def test_the_script_makes_every_picture(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "RECALIBRATION_CHUNKS", 1)
    threads = torch.get_num_threads()
    script.main(["--quick", "--out", str(tmp_path)])
    torch.set_num_threads(threads)
    assert {path.name for path in tmp_path.iterdir()} == SHOWN
    assert {f"theory-{name}.png" for name in script.FIGURES} == SHOWN


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_pictures_are_small(name: str) -> None:
    assert 1_000 < (ROOT / "docs" / "pictures" / name).stat().st_size < 150_000


def test_the_tables_are_the_codes(script: ModuleType) -> None:
    for rows in (list(script.objective_rows()), list(script.tutorial_rows())):
        assert "\n".join(["", *rows, ""]) in PAGE, "the script prints them"


def test_every_objective_has_a_row(script: ModuleType) -> None:
    rows = [row for row in script.objective_rows() if row.startswith("| `")]
    assert {re.findall(r"`([\w-]+)`", row)[0] for row in rows} == set(build.OBJECTIVES)


def test_both_tables_would_notice_another_number(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    other = build.OBJECTIVES["hinge"]
    monkeypatch.setitem(build.OBJECTIVES, "wasserstein", other)
    assert "\n".join(script.objective_rows()) not in PAGE


def test_a_weight_that_touches_the_second_coordinate_stays_zero(script: ModuleType) -> None:
    state = script.keep_on_the_line(script.toy(script.line_points(600), g_rate=1e-3))
    script.advance_to(state, 3)
    assert bool((script.fakes(state, 100)[:, 1] == 0).all())
    assert float(script.fakes(state, 100)[:, 0].std()) > 0


def test_a_discriminator_left_alone_leaves_the_run_as_it_was(script: ModuleType) -> None:
    import numpy as np

    points = np.zeros((5, 2))
    points[:, 0] = np.linspace(-1, 1, 5)
    state = script.keep_on_the_line(script.toy(script.line_points(600), g_rate=1e-3))
    script.advance_to(state, 1)
    before = script.belief(state, points)
    later = script.left_alone(state, 3, points)
    assert (script.belief(state, points) == before).all()
    assert (later != before).any()


def test_the_ratio_of_two_histograms(script: ModuleType) -> None:
    import numpy as np

    ratio = script.Ratio(np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.0, 0.5]))
    assert ratio.best.tolist() == [0.5, 1.0, 0.0]
    assert ratio.distance(np.array([0.5, 1.0, 0.0])) == 0
    assert ratio.distance(np.array([0.5, 0.5, 0.5])) == pytest.approx(0.25)
    assert script.Ratio(np.array([1.0]), np.array([1.0])).ceiling == pytest.approx(-2 * np.log(2))
    assert script.Ratio(np.array([1.0, 0.0]), np.array([0.0, 1.0])).ceiling == 0
