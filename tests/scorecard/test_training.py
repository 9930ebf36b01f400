"""Light scorecards while training: logged, kept best, a reason to stop, and no change to training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mulligan
from mulligan import checkpoint, runlog
from mulligan import data as data_room
from mulligan.checkpoint import Scores
from mulligan.data import Dataset
from mulligan.scorecard import building
from support import command, same, small, timeless_log, trained

LITTLE = (*small("mlp-relu"), "data.batch=50", "checkpoint.every=500", "checkpoint.keep=3")
CARDS = ("card.every=200", "card.n=256")


def cards(run: Path) -> list[dict[str, Any]]:
    return [row for row in runlog.rows(run) if "card" in row]


def train(out: Path, *overrides: str, images: int = 1000) -> Path:
    return mulligan.train(
        "mlp-relu", data="digits", images=images, out=out, overrides=(*LITTLE, *overrides)
    ).directory


def test_a_run_logs_cards_and_keeps_its_best(tmp_path: Path) -> None:
    run = train(tmp_path / "run", *CARDS)
    drawn = cards(run)
    assert [row["images"] for row in drawn] == [200, 400, 600, 800, 1000]
    assert {"frechet", "frechet_low", "frechet_high", "frechet_floor", "precision"} <= drawn[0]["card"].keys()
    assert drawn[0]["card"]["judge"] == "random-cnn"  # digits are not what the package has a reference for
    best = min(drawn, key=lambda row: row["card"]["frechet"])
    model = mulligan.load(run / "checkpoints" / "best")
    assert model.about.images == best["images"]
    assert model.about.scores is not None
    assert model.about.scores.frechet == best["card"]["frechet"]


def test_evaluation_does_not_change_training(tmp_path: Path) -> None:
    watched = train(tmp_path / "watched", *CARDS)
    alone = train(tmp_path / "alone", "card.every=0")
    assert same(trained(watched), trained(alone))
    assert not cards(alone)
    assert not (alone / "checkpoints" / "best.safetensors").exists()


def test_a_run_shorter_than_one_cadence_has_no_card_and_a_longer_one_ends_with_one(tmp_path: Path) -> None:
    assert not cards(train(tmp_path / "short", "card.every=2000", "card.n=256"))
    assert [row["images"] for row in cards(train(tmp_path / "long", "card.every=700", "card.n=256"))] == [
        700,
        1000,
    ]


def test_of_a_large_set_only_so_much_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset("many", np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1))
    monkeypatch.setattr(building, "MOST", 20)
    training, test = building.split(dataset, seed=0, most=50)
    assert (len(training), len(test)) == (50, 20)
    assert not np.intersect1d(training.images, test.images).size
    assert len(building.split(dataset, seed=0)[0]) == 80


def test_resumed_and_uninterrupted_agree_on_cards_and_best(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", *CARDS, images=1600)
    seen = 0

    def stop(progress: mulligan.Progress) -> bool:
        nonlocal seen
        seen += 1
        return progress.images >= 900

    cut = mulligan.train(
        "mlp-relu", data="digits", images=1600, out=tmp_path / "cut", overrides=(*LITTLE, *CARDS),
        should_stop=stop,
    ).directory  # fmt: skip
    mulligan.resume(cut)
    of_cut = [row for row in timeless_log(cut) if row["images"] != 900 or "card" not in row]
    assert of_cut == timeless_log(whole)
    best = [mulligan.load(run / "checkpoints" / "best").about for run in (whole, cut)]
    assert best[0].images == best[1].images


def test_a_plateau_ends_the_run_for_good(tmp_path: Path) -> None:
    stop = ('stop={kind="plateau",cards=3}', "optimizer.generator.lr=1e-9", "optimizer.discriminator.lr=1e-9")
    run = mulligan.train(
        "mlp-relu", data="digits", images=50_000, out=tmp_path / "run", overrides=(*LITTLE, *CARDS, *stop)
    )
    assert run.reason.startswith("no card of the last 3 improved on the Fréchet distance")
    assert (
        run.images == 850
    )  # the first card sets the bar, three do not clear it; the next update hears of it
    assert mulligan.resume(run.directory).images == 850


def test_what_counts_as_an_improvement() -> None:
    scores = Scores(images=100, frechet=10.0, bar=9.5)
    better = scores.after(200, 9.7, 9.2)  # lower, but not beyond doubt
    assert (better.images, better.frechet, better.bar, better.cards_since) == (200, 9.7, 9.5, 1)
    clearly = better.after(300, 9.0, 8.6)
    assert (clearly.images, clearly.frechet, clearly.bar, clearly.cards_since) == (300, 9.0, 8.6, 0)
    worse = clearly.after(400, 20.0, 19.0)
    assert (worse.images, worse.frechet, worse.bar, worse.cards_since) == (300, 9.0, 8.6, 1)


def test_points_have_a_card_of_their_own(tmp_path: Path) -> None:
    recipe = tmp_path / "ring.toml"
    recipe.write_text(
        'name="ring"\nlatent={size=2}\ngenerator={kind="mlp",hidden=[8],output="linear"}\n'
        'discriminator={kind="mlp",hidden=[8]}\n'
    )
    run = mulligan.train(
        recipe, data="ring-8", images=1000, out=tmp_path / "run", overrides=("card.every=500",)
    )
    assert {"modes", "high_quality"} <= cards(run.directory)[-1]["card"].keys()


@pytest.mark.mnist
def test_on_mnist_the_evaluator_of_the_package_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    overrides = [
        part for one in (*small("mlp-relu"), "card.every=256", "card.n=256") for part in ("--set", one)
    ]
    assert command("train", "mlp-relu", "--data", "mnist", "--images", 256, "--out", run, *overrides) == 0
    card = cards(run)[-1]["card"]
    assert card["judge"] == "mnist-cnn"
    assert sum(card["classes"]) == 256
    assert "Fréchet distance" in capsys.readouterr().out


def test_a_kill_between_a_card_and_its_best_leaves_whole_files(tmp_path: Path) -> None:
    run = train(tmp_path / "run", *CARDS)
    latest = checkpoint.history(run)[-1]
    half = run / "checkpoints" / ".best.safetensors.1.tmp"
    half.write_bytes(b"half")
    checkpoint.keep_as_best(run, latest)
    assert mulligan.load(run / "checkpoints" / "best").about.images == 1000
    mulligan.resume(run, images=1100)
    assert not half.exists()


def test_a_handful_of_images_is_trained_on_without_a_card(tmp_path: Path) -> None:
    few = Dataset("few", data_room.load("digits").images[:12])
    run = mulligan.train(
        "mlp-relu", data=few, images=96, out=tmp_path / "run", overrides=("data.batch=12", "card.every=24")
    )
    assert run.images == 96
    assert cards(run.directory) == []
