"""What an independent reader of the code found, kept from coming back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import mulligan
from mulligan import checkpoint, recipe
from mulligan.data import Dataset, load
from mulligan.sampler import _between
from support import command, small


def test_a_run_whose_reader_has_gone_still_saves_when_it_is_asked_to_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = [part for change in small("mlp-relu") for part in ("--set", change)]
    line = [
        sys.executable,
        "-m",
        "mulligan",
        "train",
        "mlp-relu",
        "--data",
        "digits",
        "--out",
        str(run),
        *changes,
    ]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    deadline = time.monotonic() + 60
    while not checkpoint.history(run) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert int(checkpoint.history(run)[-1].stem) > 0
    assert (run / "grid.png").exists()


def test_what_auto_chose_is_recorded_and_a_path_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MULLIGAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("mulligan.data.reachable", lambda *_: False)
    monkeypatch.setattr("mulligan.data.synth.SIZES", {"train": 300, "test": 100})
    monkeypatch.chdir(tmp_path)
    run = mulligan.train("mlp-relu", data="auto", steps=1, out="auto")
    assert run.model().about.data.source == "mnist-synth"
    assert command("generate", "auto", "-n", 40, "--out", "some.npz") == 0
    run = mulligan.train("mlp-relu", data="some.npz", steps=1, out="own", overrides=("data.batch=20",))
    monkeypatch.chdir("/")
    assert mulligan.resume(tmp_path / "own", images=40).images == 40


@pytest.mark.parametrize("turned", [False, True])
def test_overrides_do_not_depend_on_their_order(turned: bool) -> None:
    changes = ("objective.real_label=0.9", "objective.kind=minimax")
    read = recipe.read("mlp-relu", changes[::-1] if turned else changes)
    assert (read.objective.kind, read.objective.real_label) == ("minimax", 0.9)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (np.zeros((5, 28, 28), np.uint8), None, r"expected images uint8 \[N, C, H, W\]"),
        (np.zeros((5, 1, 28, 28), np.float32), None, "multiply by 255"),
        (np.zeros((5, 1, 28, 28), np.uint8), np.zeros(4, np.int64), r"integer labels \[5\]"),
        (np.zeros((5, 1, 28, 28), np.uint8), np.zeros(5), "integer labels"),
        (np.zeros((5, 1, 28, 28), np.uint8), np.full(5, 2), "labels 2..2 for 2 classes: expected 0..1"),
    ],
)
def test_images_from_python_are_checked_when_they_are_handed_over(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None, words: str
) -> None:
    with pytest.raises(mulligan.UserError, match=words):
        Dataset("mine", images, labels, ("a", "b"))


def test_labels_of_any_integer_type_and_turned_images_will_do() -> None:
    images = np.zeros((5, 1, 28, 28), np.uint8)[::-1]
    data = Dataset("mine", images, np.arange(5, dtype=np.int32))
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert data.images.flags.c_contiguous


def test_more_images_than_anyone_can_keep_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mulligan.train("mlp-relu", data="digits", steps=1, out=tmp_path / "run")
    assert command("generate", tmp_path / "run", "-n", 10**20, "--out", tmp_path / "x.npz") == 2
    assert capsys.readouterr().err.startswith("mulligan: ")


def test_running_out_of_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("mulligan.scorecard.evaluate", fail)
        assert command("evaluate", "ring-8") == 1
        assert capsys.readouterr().err.startswith("mulligan: out of memory")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_named_like_an_image_is_passed_over(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert len(load(str(tmp_path))) == 1


def test_a_walk_between_opposite_latents_stays_finite() -> None:
    a = torch.ones(3, dtype=torch.float64)
    assert _between(a, -1.3 * a, torch.tensor(0.3), spherical=True).abs().max() < 2


def test_a_damaged_last_checkpoint_is_named_with_the_one_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = mulligan.train("mlp-relu", data="digits", steps=1, out=tmp_path / "run").directory
    first, last = checkpoint.history(run)
    last.write_bytes(b"")
    assert command("resume", run) == 2
    assert f"delete it to go on from {first.name}" in capsys.readouterr().err
    last.unlink()
    assert command("resume", run, "--quiet") == 0
