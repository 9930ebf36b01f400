"""What comes from elsewhere: files that cannot be read, odd names, rows, cards and references."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError

import mulligan
from mulligan import archive, checkpoint, data, evaluator, runlog, scorecard, training
from mulligan.arena import cells, pair
from mulligan.cli import arena, wording
from mulligan.data import read_digits, write_npz
from mulligan.data.dataset import Dataset
from mulligan.data.idx import idx_bytes
from mulligan.errors import UserError
from mulligan.evaluator import Evaluator
from mulligan.reporting import facts, judging
from mulligan.scorecard import building, transfer
from mulligan.scorecard.card import METRICS
from mulligan.scorecard.reference import Reference
from support import command

SMALL = ("generator.hidden=[8]", "discriminator.hidden=[8]", "samples.every=0", "card.every=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("strangers") / "run"
    mulligan.train("mlp-relu", data="digits", out=out, steps=2, overrides=SMALL)
    return out


@pytest.fixture(scope="module")
def made() -> Reference:
    return scorecard.build(read_digits(), name="digits", source=None, steps=30)


# Checkpoints ------------------------------------------------------------------------------------


def test_only_a_damaged_checkpoint_is_to_be_deleted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = checkpoint.find(run)

    def failing(error: Exception) -> Callable[..., object]:
        def call(*_: object, **__: object) -> object:
            raise error

        return call

    monkeypatch.setattr(archive, "safe_open", failing(SafetensorError("InvalidHeader")))
    with pytest.raises(UserError, match=r"InvalidHeader: delete it to go on from 0+\.safetensors$"):
        checkpoint.read(last)
    monkeypatch.setattr(archive, "safe_open", failing(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=r"Permission denied$"):
        checkpoint.read(last)
    monkeypatch.setattr(archive, "safe_open", failing(RuntimeError("DefaultCPUAllocator: can't allocate")))
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        checkpoint.read(last)


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_a_name_that_is_not_unicode_is_said_before_anything_trains(run: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"nu\xff")
    with pytest.raises(UserError, match="is not Unicode: use another name"):
        mulligan.train("mlp-relu", data="digits", out=odd, steps=1, overrides=SMALL)
    run.rename(odd)
    try:
        with pytest.raises(UserError, match=r"rename it$"):
            mulligan.load(odd)
    finally:
        odd.rename(run)


def test_the_best_is_copied_where_there_are_no_links(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / checkpoint.FOLDER).mkdir()
    checkpoint.keep_as_best(tmp_path, checkpoint.find(run))
    (kept,) = (tmp_path / checkpoint.FOLDER).iterdir()
    assert kept.read_bytes() == checkpoint.find(run).read_bytes()


# Names ------------------------------------------------------------------------------------------


def test_a_table_sends_a_terminal_no_commands() -> None:
    assert list(wording.aligned([["a\x1b[2J", "b"], ["c", "d\ne"]])) == ["a\\x1b[2J  b", "c         d\\ne"]


def test_an_odd_name_is_escaped_in_what_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("runs", "\x1b[31m" + "x" * 300) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").symlink_to("a.png")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"a\.png: cannot be read: "):
        data.load(str(tmp_path), size=8)
    assert command("runs", "x" * 300) == 2
    assert capsys.readouterr().err.startswith("mulligan: " + "x" * 300)
    assert command("train", "--data", "~nobody-of-this-name/x", "--out", tmp_path / "run") == 2
    assert "~nobody-of-this-name" in capsys.readouterr().err


def test_a_name_is_no_formula(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    odd = tmp_path / "a$^$b"
    run.rename(odd)
    try:
        pair.draw(tmp_path / "both.png", odd, odd)
    finally:
        odd.rename(run)
    assert (tmp_path / "both.png").stat().st_size > 1000


# Rows and cards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("frechet", [None, "x", True, float("nan"), 10**400])
def test_a_card_without_a_distance_is_no_card(frechet: object) -> None:
    row: dict[str, Any] = {"images": 1, "card": {"frechet": frechet}}
    assert runlog.cards([row, {"images": 2, "card": {"frechet": 0.5}}]) == [
        {"images": 2, "card": {"frechet": 0.5}}
    ]


@pytest.mark.parametrize("images", [-5, 10**400, 10**15])
def test_rows_of_impossible_moments_are_damage(images: int, tmp_path: Path) -> None:
    (tmp_path / runlog.LOG).write_text(json.dumps({"images": images}) + "\n")
    with pytest.raises(UserError, match="is damaged"):
        runlog.rows(tmp_path)


def test_a_card_of_a_huge_value_is_damaged(run: Path) -> None:
    path = run / facts.SCORECARD
    path.write_text(json.dumps({"metrics": {"frechet": {"value": 10**400, "low": 0, "high": 1}}}))
    try:
        with pytest.raises(UserError, match="is damaged"):
            facts.read(run)
    finally:
        path.unlink()


def test_a_page_names_classes_as_the_card_does() -> None:
    card = {"class_names": ["nought", "one"]}
    assert judging._own_names(card, (3, 4)) == ("nought", "one")
    assert judging._own_names(card, (3, 4, 5)) == ()
    assert judging._own_names({"class_names": "ab"}, (3, 4)) == ()


# References -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": (5, 0), "floors": {}},
        {"sizes": (0, 5), "floors": {}},
        {"sizes": (50, 10), "floors": {}},
        {"floors": {"frechet": (0.1,) * 60}},
        {"class_shares": (-0.5,) * 10},
        {"near_copies": (0, 0)},
        {"near_copies": (5, 2)},
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(
    wrong: dict[str, Any], made: Reference, tmp_path: Path
) -> None:
    scorecard.save(tmp_path / "ref", replace(made, about=made.about.model_copy(update=wrong)))
    with pytest.raises(UserError, match="its header is wrong"):
        scorecard.find(tmp_path / "ref")


def test_labels_go_by_the_names_of_classes(made: Reference, tmp_path: Path) -> None:
    """Threes and sevens alone are labels 0 and 1 of their folder, and classes 3 and 7 of the evaluator."""
    digits = read_digits()
    assert digits.labels is not None
    for name in "37":
        (tmp_path / "digits" / name).mkdir(parents=True)
        for i, image in enumerate(digits.images[digits.labels == int(name)][:40]):
            Image.fromarray(image[0]).save(tmp_path / "digits" / name / f"{i}.png")
    folder, ref = tmp_path / "digits", tmp_path / "ref"
    scorecard.save(ref, made)
    card = scorecard.evaluate(folder, reference=ref, thorough=False)
    assert card.metrics["label_agreement"].value > 0.5  # by number it would be 0
    (folder / "3").rename(folder / "three")
    card = scorecard.evaluate(folder, reference=ref, thorough=False)
    assert "label_agreement" not in card.metrics
    assert card.absent["label_agreement"] == "the evaluator knows no class 'three'"


def test_a_reference_that_does_not_fit_is_refused_before_anything_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_npz(tmp_path / "wide.npz", np.zeros((60, 1, 16, 16), np.uint8))
    for reference, of in (("mnist", "1×28×28"), ("ring-8", "2×1×1"), ("stacked-mnist", "3×28×28")):
        asked = (
            "arena",
            "mlp-relu",
            "--data",
            tmp_path / "wide.npz",
            "--images",
            "64",
            "--out",
            tmp_path / "a",
        )
        assert command(*asked, "--reference", reference) == 2
        assert capsys.readouterr().err == (
            f"mulligan: --reference {reference}: is for {of} (channels × height × width), "
            "the data is 1×16×16\n"
        )
    assert not (tmp_path / "a").exists()
    arena._check_reference("digits", 28, "mnist")
    with pytest.raises(UserError, match=r"is for 1×28×28 .*, the data is 1×16×16"):
        arena._check_reference("digits", 16, "mnist")
    sweep = ("sweep", "points", "--data", "ring-8", "--images", "64", "--out", tmp_path / "s")
    assert command(*sweep, "--range", "data.batch=8:16") == 2
    assert "counts modes; a sweep goes by the Fréchet distance" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_damaged_grid_costs_a_picture_of_two_runs_no_more_than_itself(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    whole = (run / runlog.GRID).read_bytes()
    header = b"IHDR" + struct.pack(">2I", 2**31 - 1, 2**31 - 1) + whole[24:29]
    enormous = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    for damage in (b"", b"no picture", whole[:200], enormous):
        (other / runlog.GRID).write_bytes(damage)
        assert command("compare", run, other, "--out", tmp_path / "both.png") == 0
        assert (tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"
        (tmp_path / "both.png").unlink()


def test_a_run_that_cannot_be_locked_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / runlog.LOCK).mkdir()
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        cells._wait_for_others(tmp_path, cells.Processes(None))


def test_a_reference_finds_its_images_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = read_digits()
    write_npz(tmp_path / "some.npz", digits.images[:200])
    monkeypatch.chdir(tmp_path)
    assert command("reference", "some.npz", "--out", "ref", "--steps", "1", "--quiet") == 0
    monkeypatch.chdir(tmp_path.parent)
    assert scorecard.find(tmp_path / "ref").about.source == str(tmp_path / "some.npz")
    assert training.source_of("auto", "mnist") == "mnist"
    assert training.source_of("~/x.npz", "~/x.npz") == str(Path.home() / "x.npz")


def test_classes_that_are_only_numbered_go_by_their_numbers(made: Reference) -> None:
    """As files do that name none, whatever the evaluator calls its classes."""
    digits = read_digits()
    words = tuple("abcdefghij")
    about = made.evaluator.about.model_copy(update={"class_names": words})
    named = replace(made, evaluator=Evaluator(about, made.evaluator.sha256, made.evaluator.network))
    for names in ((), tuple("0123456789"), words):
        samples = scorecard.Samples(digits.images[:100], digits.labels[:100], None, "x", names)  # type: ignore[index]
        card = scorecard.judge(samples, named, "x", thorough=False)
        assert card.metrics["label_agreement"].value > 0.5
        assert any(line.startswith("classes: a: ") for line in card.lines())
    bare = scorecard.Scorecard("x", 10, {}, {}, class_histogram=[4, 6])
    assert "classes: 0: 4  1: 6" in bare.lines()


def test_a_label_that_never_comes_is_no_other_class(made: Reference) -> None:
    digits = read_digits()
    words = tuple("abcdefghij")
    about = made.evaluator.about.model_copy(update={"class_names": words})
    named = replace(made, evaluator=Evaluator(about, made.evaluator.sha256, made.evaluator.network))
    few = digits.labels < 9  # type: ignore[operator]
    samples = scorecard.Samples(digits.images[few][:100], digits.labels[few][:100], None, "x", ())  # type: ignore[index]
    card = scorecard.judge(samples, named, "x", thorough=False)
    assert card.metrics["label_agreement"].value > 0.5


# Data as folders and callers have it ------------------------------------------------------------


def sorted_by_class(first: int) -> Dataset:
    """Sixty images that are all but black and sixty of noise, one kind before the other."""
    rng = np.random.Generator(np.random.PCG64(0))
    dark = np.zeros((60, 1, 8, 8), np.uint8)
    dark[:, 0, 0, 0] = np.arange(60) + 1
    noise = rng.integers(0, 256, dark.shape, dtype=np.uint8)
    return Dataset("two kinds", np.concatenate([dark, noise] if first == 0 else [noise, dark]))


def test_held_out_images_are_of_every_class_in_whatever_order_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(building, "MOST", 40)
    for first in (0, 1):
        held_out = scorecard.build(sorted_by_class(first), name="two", source=None).held_out
        assert len(held_out) == 40
        assert 10 < (held_out < 0.1).sum() < 30


def test_images_that_are_all_alike_train_and_are_not_judged(tmp_path: Path) -> None:
    black = Dataset("black", np.zeros((100, 1, 28, 28), np.uint8))
    quick = (*SMALL[:3], "card.every=128", "card.n=256")
    run = mulligan.train(
        "mlp-relu", data=black, out=tmp_path / "run", steps=2, overrides=(*quick, "data.batch=64")
    )
    assert run.steps == 2
    assert not any("card" in row for row in runlog.rows(tmp_path / "run"))
    with pytest.raises(UserError, match="black: its images are all alike: nothing can be measured"):
        scorecard.build(black, name="black", source=None)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((9, 8, 8, 3), np.uint8), r"got \[9, 8, 8, 3\] \(\[N, H, W, C\]\?\)"),
        (np.zeros((9, 2, 8, 8), np.uint8), r"1 or 3 channels in \[N, C, H, W\], got \[9, 2, 8, 8\]$"),
        (np.full((9, 2, 1, 1), np.nan, np.float32), "points that are not finite"),
    ],
)
def test_what_no_picture_could_show_is_refused(images: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Dataset("own", images)


def test_an_idx_folder_is_judged_by_its_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = read_digits()
    labels = digits.labels
    assert labels is not None
    own = tmp_path / "own"
    own.mkdir()

    def put(name: str, among: int, n: int) -> None:
        picks = np.flatnonzero(labels < among)[:n]
        (own / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(digits.images[picks, 0]))
        (own / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels[picks].astype(np.uint8)))

    put("train", 3, 200)
    put("t10k", 2, 60)
    monkeypatch.setattr(transfer, "STEPS", 5)
    assert command("reference", own, "--out", tmp_path / "ref", "--steps", 5) == 0
    assert "against 60" in capsys.readouterr().out
    card = mulligan.evaluate(own, reference=tmp_path / "ref")
    assert card.metrics["train_on_synthetic"].floor is not None
    put("t10k", 2, 5)
    assert command("reference", own, "--out", tmp_path / "another", "--steps", 5) == 2
    assert "its test split has 5 images of 1×28×28, expected at least 40" in capsys.readouterr().err
    put("t10k", 4, 60)
    assert command("reference", own, "--out", tmp_path / "another", "--steps", 5) == 2
    assert "labels 0..3 for 3 classes" in capsys.readouterr().err


def test_a_share_without_a_floor_is_neither_good_nor_poor() -> None:
    for name in ("train_on_synthetic", "modes"):
        for value in (0.0, 1.0):
            assert METRICS[name][1](scorecard.Metric(value, value, value, None)) == "fair"


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_a_reference_of_a_name_that_is_not_unicode_is_refused_first() -> None:
    for name, classes in ((os.fsdecode(b"\xff"), ("a", "b")), ("own", (os.fsdecode(b"\xff"), "b"))):
        own = replace(sorted_by_class(0), labels=np.arange(120) % 2, class_names=classes)
        with pytest.raises(UserError, match="is not Unicode"):
            scorecard.build(own, name=name, source=None)


def test_a_last_batch_of_one_weighs_no_more_than_others_and_breaks_nothing() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    for n in (256, 257, 513):
        images = rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
        evaluator.fit(images, np.arange(n) % 2, 2, steps=2, small=True)


def test_a_log_that_is_no_text_is_damaged(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "odd")
    with (tmp_path / "odd" / runlog.LOG).open("ab") as file:
        file.write(b'{"images": "\xff"}\n')
    for what in ("doctor", "resume", "retry"):
        assert command(what, tmp_path / "odd") == 2
        assert "log.jsonl: is damaged: expected one JSON object a line" in capsys.readouterr().err


def test_without_a_home_directory_a_cache_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "MULLIGAN_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(UserError, match="no home directory: set XDG_CACHE_HOME"):
        data.load("mnist", fetch_missing=False)
