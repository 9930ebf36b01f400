"""``mulligan evaluate``: what is said of a set of images, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import mulligan
from mulligan import data, scorecard
from mulligan.data import write_npz
from mulligan.data.dataset import Dataset
from mulligan.scorecard.reference import load
from support import command

KEYS = {
    *("schema", "reference", "n", "evaluator", "metrics", "class_histogram", "missing_classes"),
    *("class_names", "near_copies", "warnings", "absent", "verdict"),
}
SHIPPED = Path(mulligan.__file__).parent / "references" / "mnist"


@pytest.fixture(scope="module")
def test_images() -> Dataset:
    return data.load("mnist", split="test")


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MULLIGAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))


def card_of(path: Path, tmp_path: Path, *options: object) -> dict[str, Any]:
    out = tmp_path / "card.json"
    assert command("evaluate", path, "--quick", "--json", out, *options) == 0
    card: dict[str, Any] = json.loads(out.read_text())
    assert card.keys() == KEYS
    for name, metric in card["metrics"].items():
        assert metric.keys() == {"value", "low", "high", "floor"}, name
        assert metric["low"] <= metric["value"] <= metric["high"], name
    return card


def test_a_folded_network_says_what_the_network_says() -> None:
    network = scorecard.find("mnist").evaluator.network
    images = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for folded, plain in zip(network.folded()(images), network(images), strict=True):
            torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.mnist
def test_the_evaluator_names_995_of_1000_test_images_and_is_small(test_images: Dataset) -> None:
    reference = scorecard.find("mnist")
    assert test_images.labels is not None
    right = reference.evaluator.judge(test_images.images).labels == test_images.labels
    assert right.mean() >= 0.995
    assert reference.evaluator.about.accuracy == pytest.approx(right.mean(), abs=2e-4)
    assert (SHIPPED / "evaluator.safetensors").stat().st_size <= 1_500_000


@pytest.mark.mnist
def test_an_image_is_judged_the_same_alone_and_among_others(test_images: Dataset) -> None:
    judge = scorecard.find("mnist").evaluator
    together = judge.judge(test_images.images[:300])
    for i in (0, 255, 256, 299):
        alone = judge.judge(test_images.images[i : i + 1])
        assert (alone.features[0] == together.features[i]).all()


@pytest.mark.mnist
def test_real_images_pass_and_their_order_changes_nothing(test_images: Dataset, tmp_path: Path) -> None:
    images = test_images.images[:600]
    write_npz(tmp_path / "real.npz", images)
    write_npz(tmp_path / "turned.npz", np.ascontiguousarray(images[::-1]))
    card = card_of(tmp_path / "real.npz", tmp_path)
    assert card == card_of(tmp_path / "turned.npz", tmp_path)
    assert (card["schema"], card["reference"], card["n"], card["warnings"]) == (1, "mnist", 600, [])
    assert re.fullmatch("[0-9a-f]{64}", card["evaluator"]["sha256"])
    assert card["evaluator"]["name"] == "mnist-cnn"
    assert sum(card["class_histogram"]) == 600
    assert card["verdict"] == "good"
    assert card["metrics"]["memorisation"]["low"] < 0.5 < card["metrics"]["memorisation"]["high"]
    assert card["near_copies"].keys() == {"count", "share", "floor_share"}


def blots(n: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images that are no digits, for tests that need none."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8)


@pytest.mark.usefixtures("no_data")
def test_a_score_needs_no_data_set_and_says_which_rows_would(tmp_path: Path) -> None:
    write_npz(tmp_path / "blots.npz", blots(60))
    out = tmp_path / "card.json"
    assert command("evaluate", tmp_path / "blots.npz", "--json", out) == 0
    card = json.loads(out.read_text())
    assert {"frechet", "kernel_distance", "precision", "recall", "class_kl"} <= card["metrics"].keys()
    assert card["absent"].keys() == {"memorisation", "train_on_synthetic", "path_length"}
    assert "mnist is not here" in card["absent"]["memorisation"]
    assert card["near_copies"] is None
    assert card["verdict"] == "poor"


@pytest.mark.usefixtures("no_data")
def test_the_card_goes_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_npz(tmp_path / "blots.npz", blots(300))
    assert command("evaluate", tmp_path / "blots.npz", "-n", 60, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["n"] == 60
    assert command("evaluate", tmp_path / "blots.npz") == 0
    text = capsys.readouterr().out
    assert "300 images against mnist, judged by mnist-cnn 1" in text
    assert "low-fidelity" in text
    assert text.rstrip().endswith("verdict: poor")


@pytest.mark.usefixtures("no_data")
def test_a_folder_scores_as_its_images_do_even_grey_ones_saved_in_colour(tmp_path: Path) -> None:
    images = blots(40)
    write_npz(tmp_path / "blots.npz", images)
    for kind in ("L", "RGB"):
        (tmp_path / kind).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image[0]).convert(kind).save(tmp_path / kind / f"{i}.png")
    cards = [card_of(tmp_path / name, tmp_path) for name in ("blots.npz", "L", "RGB")]
    assert cards[0]["metrics"] == cards[1]["metrics"] == cards[2]["metrics"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert command("evaluate", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"mulligan: .+\n", said.err)
    return said.err


@pytest.mark.parametrize("n", [1, 2, 9])
def test_too_few_images(n: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_npz(tmp_path / "few.npz", blots(n))
    assert f"has {n} images, expected at least 10" in refused(capsys, tmp_path / "few.npz")
    assert "of at least 10, got" in refused(capsys, tmp_path / "few.npz", "-n", n)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 28, 28), np.uint8), "expected shape"),
        (np.zeros((20, 28, 28), np.float32), "expected uint8 0..255, got float32: multiply by 255"),
        (np.full((20, 28, 28), np.nan), "expected uint8 0..255, got float64"),
        (np.zeros((20, 32, 32), np.uint8), "its images are 1×32×32, the reference's are 1×28×28"),
        (np.zeros((20, 3, 28, 28), np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None], "3×28×28"),
    ],
)
def test_images_of_the_wrong_kind(
    array: npt.NDArray[Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "wrong.npz", images=array)
    assert words in refused(capsys, tmp_path / "wrong.npz")


def test_what_is_not_there_or_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_npz(tmp_path / "blots.npz", blots(20))
    (tmp_path / "odd").mkdir()
    for i, size in enumerate([(28, 28), (28, 30)]):
        Image.new("L", size).save(tmp_path / "odd" / f"{i}.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").touch()
    assert "neither a set nor a path" in refused(capsys, tmp_path / "none")
    assert "did you mean 'mnist'" in refused(capsys, tmp_path / "blots.npz", "--reference", "mnits")
    assert "expected 30, as -n says" in refused(capsys, tmp_path / "blots.npz", "-n", 30)
    assert "is 28×30 pixels: expected 28×28" in refused(capsys, tmp_path / "odd")
    assert "without a checkpoint" in refused(capsys, tmp_path / "run")
    assert "of points in a plane" in refused(capsys, tmp_path / "blots.npz", "--reference", "ring-8")
    assert "expected FILE.png" in refused(capsys, tmp_path / "blots.npz", "--neighbours", "x.txt")
    assert command("evaluate", "ring-8", "-n", 50, "--json", tmp_path / "blots.npz" / "x.json") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_run_of_other_data_wants_its_own_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mulligan.train("mlp-relu", data="digits", steps=1, out=tmp_path / "run")
    assert "`mulligan reference digits --out FOLDER`" in refused(capsys, tmp_path / "run")
    card = scorecard.evaluate(tmp_path / "run", reference="mnist", n=40, thorough=False)
    assert card.verdict == "poor"
    assert "path_length" in card.metrics


def test_the_toys_know_their_modes() -> None:
    card = mulligan.evaluate("ring-8", n=3000)
    assert isinstance(card, mulligan.Scorecard)
    assert (card.metrics["modes"].value, card.verdict) == (8, "good")
    assert card.to_json()["metrics"]["high_quality"]["floor"] == pytest.approx(0.989, abs=0.01)


@pytest.mark.mnist
def test_stacked_digits_are_read_channel_by_channel(tmp_path: Path) -> None:
    card = mulligan.evaluate("stacked-mnist", n=3000)
    assert card.metrics["modes"].value == pytest.approx(card.metrics["modes"].floor, rel=0.02)
    assert card.verdict == "good"
    one = data.load("stacked-mnist").images[:1].repeat(300, 0)
    write_npz(tmp_path / "one.npz", one)
    assert mulligan.evaluate(tmp_path / "one.npz", reference="stacked-mnist").metrics["modes"].value == 1


# References of one's own -------------------------------------------------------------------------


def digits(n: int = 300) -> Dataset:
    whole = data.read_digits()
    assert whole.labels is not None
    return replace(whole, images=whole.images[:n], labels=whole.labels[:n])


def test_a_reference_of_labelled_images_comes_back_from_its_files(tmp_path: Path) -> None:
    names = ("nought", *"123456789")
    made = scorecard.build(replace(digits(), class_names=names), name="some digits", source=None, steps=30)
    assert made.evaluator.about.name == "some-digits-cnn"
    assert made.evaluator.about.class_names == names
    scorecard.save(tmp_path / "ref", made)
    again = load(tmp_path / "ref")
    assert again.about == made.about
    np.testing.assert_allclose(again.features, made.features, rtol=1e-3, atol=1e-4)
    card = scorecard.judge(
        scorecard.Samples(digits().images[:50], None, None, "x"), again, "x", thorough=False
    )
    assert sum(card.class_histogram) == 50
    (classes,) = [line for line in card.lines() if line.startswith("classes:")]
    assert classes.startswith(f"classes: nought: {card.class_histogram[0]}  1: ")


def test_without_labels_the_evaluator_is_the_fallback_and_says_so(tmp_path: Path) -> None:
    bare = replace(digits(), labels=None, class_names=())
    scorecard.save(tmp_path / "ref", scorecard.build(bare, name="bare", source=None))
    write_npz(tmp_path / "some.npz", bare.images[:60])
    card = mulligan.evaluate(tmp_path / "some.npz", reference=tmp_path / "ref")
    assert card.evaluator["name"] == "random-cnn"
    assert card.class_histogram == []
    assert "classifier_score" not in card.metrics
    assert card.absent["train_on_synthetic"] == "the evaluator knows no classes"
    assert card.metrics["frechet"].floor is not None


def test_the_verb_makes_one_and_a_run_is_judged_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref, run = tmp_path / "ref", tmp_path / "run"
    assert command("reference", "digits", "--out", ref, "--steps", 20) == 0
    assert f"mulligan evaluate SOURCE --reference {ref}" in capsys.readouterr().out
    assert command("reference", "digits", "--out", ref) == 2  # nothing is overwritten
    mulligan.train("mlp-relu", data="digits", steps=1, out=run)
    card = card_of(run, tmp_path, "--reference", ref, "-n", 60)
    assert card["reference"] == "digits"
    assert card["near_copies"]["count"] >= 0  # the digits are at hand
    assert (
        command("evaluate", run, "--quick", "--reference", ref, "-n", 40, "--neighbours", tmp_path / "n.png")
        == 0
    )
    with Image.open(tmp_path / "n.png") as shown:
        assert shown.width > 100


@pytest.mark.parametrize("file", ["evaluator.safetensors", "reference.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_reference_is_refused(
    file: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_npz(tmp_path / "blots.npz", blots(20))
    ref = tmp_path / "ref"
    ref.mkdir()
    for name in ("evaluator.safetensors", "reference.safetensors"):
        (ref / name).write_bytes((SHIPPED / name).read_bytes())
    whole = (ref / file).read_bytes()
    other = ref / (
        {"evaluator": "reference", "reference": "evaluator"}[file.partition(".")[0]] + ".safetensors"
    )
    (ref / file).write_bytes({"cut": whole[:50_000], "empty": b"", "other": other.read_bytes()}[damage])
    assert str(ref / file) in refused(capsys, tmp_path / "blots.npz", "--reference", ref)
