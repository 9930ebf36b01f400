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
from mulligan import archive, checkpoint, data, runlog, scorecard, training
from mulligan.arena import cells, pair
from mulligan.cli import arena, wording
from mulligan.data import read_digits, write_npz
from mulligan.errors import UserError
from mulligan.evaluator import Evaluator
from mulligan.reporting import facts, judging
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
