"""Journeys that are rarely made: full and closed streams, narrow terminals, odd arguments, missing parts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mulligan
from mulligan import checkpoint, data, doctor, runlog
from mulligan.cli.console import BESIDE, fitting
from mulligan.data import write_npz
from mulligan.errors import UserError
from mulligan.loop import Progress
from support import command

SMALL = ("generator.hidden=[8]", "discriminator.hidden=[8]", "samples.every=0", "card.every=0")
SETS = tuple(part for change in SMALL for part in ("--set", change))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "some.npz"
    write_npz(path, data.read_digits().images[:200])
    return path


@pytest.fixture(scope="module")
def run(own: Path) -> Path:
    out = own.with_name("run")
    mulligan.train("mlp-relu", data=own, out=out, steps=2, overrides=SMALL)
    return out


# Streams ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_standard_output_is_not_blamed_on_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mulligan", "train", "mlp-relu", "--data", "digits", "--out", out, *SETS],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "mulligan: standard output cannot be written: No space left on device\n"


def test_a_disk_that_is_full_before_anything_was_saved_promises_no_checkpoint(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(mulligan.RunError, match=r"No space left on device: nothing was saved yet$"):
        mulligan.train("mlp-relu", data=own, out=tmp_path / "run", steps=2, overrides=SMALL)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's way to close a stream")
def test_a_closed_standard_output_is_no_error() -> None:
    line = f"{sys.executable} -m mulligan --version >&-"
    assert subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, check=False).returncode == 0


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_a_narrow_terminal_keeps_the_time_left(width: int) -> None:
    progress = Progress(5_888, 12_800, 46, 4.9, 1205.0, 0.395, 6.318, 0.84, 0.02, frechet=0.123)
    text = fitting(progress, width)
    assert len(text) <= max(0, width - BESIDE)
    parts = ["5,888 images", "1,205/s", "Fréchet 0.123", "D 0.395 G 6.318", "D(real) 0.84 D(fake) 0.02"]
    assert text == "  ".join(parts)[: len(text)].rstrip()  # the first of them, whole
    assert width < 60 or text.startswith("5,888 images")
    assert width < 200 or text.endswith(parts[-1])


# What callers hand over -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"overrides": (1, 2)}, "overrides: expected a list"),
        ({"overrides": None}, "overrides: expected a list"),
        ({"out": 5}, "out: expected a path, got int"),
        ({"on_progress": 3}, "on_progress: expected a function"),
        ({"should_stop": "x"}, "should_stop: expected a function"),
        ({"data": " "}, "--data: is empty"),
    ],
)
def test_what_cannot_be_trained_with_leaves_nothing(asked: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        mulligan.train("mlp-relu", **{"out": tmp_path / "run", **asked})
    assert not (tmp_path / "run").exists()


def test_what_a_run_cannot_be_used_with(run: Path) -> None:
    odd: Any
    for odd in (None, "x", -1, 1.5):
        with pytest.raises(UserError, match="seed: expected a whole number"):
            mulligan.load(run).sample(2, seed=odd)
    odd = 3
    with pytest.raises(UserError, match="out: expected a path, got int"):
        mulligan.report(run, odd)
    with pytest.raises(UserError, match="out: expected a path, got int"):
        mulligan.retry(run, out=odd)
    odd = "0"
    with pytest.raises(UserError, match="from_images: expected a whole number"):
        mulligan.retry(run, from_images=odd, overrides=("data.batch=8",))


# Parts that are missing or elsewhere ------------------------------------------------------------


def test_a_doctor_without_a_log_does_not_call_a_run_well(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / runlog.LOG).unlink()
    assert command("doctor", tmp_path / "run") == 2
    assert "log.jsonl: cannot be read" in capsys.readouterr().err
    with runlog.lock(tmp_path / "run"):  # it has only just begun
        assert doctor.examine(tmp_path / "run").healthy


def test_a_file_is_said_to_be_one(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("doctor", own) == 2
    assert "is a file: expected a run directory" in capsys.readouterr().err


def test_a_report_says_how_images_of_ones_own_are_judged(run: Path) -> None:
    page = mulligan.report(run).read_text("utf-8")
    assert "<span>reference</span>" in page
    assert "<span>--reference</span>" in page
    assert "No classifier has looked at this run" in page


def test_a_reference_that_cannot_be_written_is_refused_first(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert command("reference", own, "--out", tmp_path / "file" / "ref") == 2
    said = capsys.readouterr()
    assert "cannot be written" in said.err
    assert said.out == ""


def test_two_runs_without_cards_are_compared(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command("compare", run, run, "--out", tmp_path / "both.png") == 0
    assert (tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_of_images_handed_over_promises_no_command_that_cannot_work(tmp_path: Path) -> None:
    mulligan.train("mlp-relu", data=data.read_digits(), out=tmp_path / "run", steps=1, overrides=SMALL)
    page = mulligan.report(tmp_path / "run").read_text("utf-8")
    assert "put the full card here" not in page


def test_a_pause_leaves_no_best_that_is_no_checkpoint(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = ("card.every=64", "card.n=256", "data.batch=32")
    out = tmp_path / "runs" / "a"
    mulligan.train(
        "mlp-relu", data=own, out=out, images=640, overrides=(*SMALL[:3], *cards),
        should_stop=lambda progress: progress.images >= 96,
    )  # fmt: skip
    rows = runlog.cards(runlog.rows(out))
    assert [(row["images"], row.get("cut_off", False)) for row in rows] == [(64, False), (96, True)]
    assert command("runs", out.parent) == 0
    assert " at 64 " in capsys.readouterr().out
    mulligan.retry(out, from_images=96, overrides=("data.batch=40",), images=200, out=tmp_path / "b")
    assert 96 not in [row["images"] for row in runlog.cards(runlog.rows(tmp_path / "b"))]


def test_resume_looks_at_its_callers_first(run: Path) -> None:
    odd: Any = "x"
    before = (run / runlog.LOG).read_bytes()
    for asked in ({"should_stop": odd}, {"on_progress": odd}):
        with pytest.raises(UserError, match="expected a function, got str"):
            mulligan.resume(run, images=1000, **asked)
    assert (run / runlog.LOG).read_bytes() == before
