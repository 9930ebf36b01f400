"""Digits drawn from the generator in the package are a set like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mulligan
from mulligan import data, runlog, scorecard
from mulligan.data import synth
from mulligan.files import user_cache


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synth, "SIZES", {"train": 1000, "test": 200})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def kept() -> list[Path]:
    return sorted((user_cache() / synth.NAME).glob("*.npz"))


def test_its_digits_are_those_of_their_labels() -> None:
    seen: list[tuple[int, int | None]] = []
    drawn = data.load("mnist-synth", progress=lambda done, total: seen.append((done, total)))
    assert drawn.labels is not None
    assert drawn.image_shape == (1, 28, 28)
    assert np.bincount(drawn.labels).tolist() == [100] * 10
    right = scorecard.find("mnist").evaluator.judge(drawn.images).labels == drawn.labels
    assert right.mean() > 0.95
    assert seen[-1] == (1000, 1000)
    assert len({image.tobytes() for image in drawn.images}) == 1000


def test_it_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = data.load("mnist-synth")
    with monkeypatch.context() as patched:
        patched.setattr(synth, "_drawn", None)
        again = data.load("mnist-synth")
    assert again.sha256 == drawn.sha256
    assert again.sha256 != data.load("mnist-synth", split="test").sha256
    kept()[0].write_bytes(b"damaged")
    kept()[1].write_bytes(b"damaged")
    assert data.load("mnist-synth").sha256 == drawn.sha256


def test_it_is_drawn_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert len(data.load("mnist-synth")) == 1000


def test_a_full_disk_costs_only_the_next_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mulligan.data.npz.write_atomically", full)
    assert len(data.load("mnist-synth")) == 1000
    assert not kept()


def test_in_another_size_it_is_judged_as_any_other_set(tmp_path: Path) -> None:
    run = mulligan.train(
        "mlp-relu", data="mnist-synth", size=16, steps=2, out=tmp_path / "run", overrides=("card.every=128",)
    )
    assert run.steps == 2
    (row,) = [row for row in runlog.rows(run.directory) if "card" in row][-1:]
    assert row["card"]["judge"] != "mnist-cnn"


def test_a_tutorial_trains_on_it_and_is_judged_as_mnist(tmp_path: Path) -> None:
    run = mulligan.train("mlp-relu", data="mnist-synth", steps=2, out=tmp_path / "run")
    card = mulligan.evaluate(run.directory, n=256)
    assert card.reference == "mnist"
    assert "mnist-synth" in card.absent["memorisation"]
