"""The command line: what it prints, what it writes, and how it says no."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

import mulligan
from mulligan import checkpoint, generation, recipe
from mulligan.cli.console import reading
from mulligan.data import locate
from mulligan.errors import UserError
from support import RECIPES, command, final, logged_steps, same, small

MULLIGAN = (sys.executable, "-m", "mulligan")
LITTLE = ("--data", "digits", "--steps", "3")


def sets(overrides: tuple[str, ...]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert command("train", "mlp-relu", *LITTLE, "--seed", 5, "--out", out) == 0
    return out


# From training to pictures


def test_train_tells_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "mlp-relu", *LITTLE, "--out", tmp_path / "run", "--set", "log.every=128") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert re.search(r"recipe: +mlp-relu", printed.out)
    assert re.search(r"data: +digits, 1,797 images of 1×28×28", printed.out)
    rows = [line for line in printed.out.splitlines() if line.startswith("step")]
    assert len(rows) == 3
    assert all(re.search(r"D loss \d.*G loss \d.*D\(real\) .*D\(fake\) .*images/s$", row) for row in rows)
    assert "3 steps, 384 images" in printed.out
    assert f"mulligan generate {tmp_path / 'run'}" in printed.out
    assert logged_steps(tmp_path / "run") == [1, 2, 3]


def test_the_tanh_tutorials_rows_show_what_its_author_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", "mlp-tanh", *LITTLE, "--out", tmp_path / "run") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(rows) == 3
    assert all("largest pixel" in row and "D(G(z))" in row for row in rows)


def test_generate_a_grid(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("generate", run, "-n", 6, "--out", tmp_path / "new" / "grid.png") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 'grid.png'}: 6 images\n"
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height  # three by two


def test_generate_an_array(run: Path, tmp_path: Path) -> None:
    assert command("generate", run, "-n", 300, "--seed", 9, "--out", tmp_path / "x.npz") == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    assert images.shape == (300, 1, 28, 28)
    assert images.dtype == np.uint8
    assert (images == mulligan.load(run).sample(300, seed=9)).all()


def test_generate_a_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    assert command("generate", run, "-n", 5, "--out", f"{folder}/") == 0
    files = sorted(folder.iterdir())
    assert [path.suffix for path in files] == [".png"] * 5
    expected = mulligan.load(run).sample(5)
    for path, image in zip(files, expected, strict=True):
        with Image.open(path) as picture:
            assert (np.asarray(picture) == image[0]).all()
    capsys.readouterr()
    assert command("generate", run, "-n", 2, "--out", folder) == 2
    assert "is not empty" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == files


def test_images_are_as_many_as_their_labels(tmp_path: Path) -> None:
    assert generation.write("mnist", tmp_path / "a.npz", labels=[2, 0, 2, 6]).endswith(
        "4 images, uint8 [N, C, H, W]"
    )
    with pytest.raises(UserError, match="n: expected"):
        generation.write("mnist", tmp_path / "b.npz", n=0)


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_generate_an_animation(ending: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / f"walk.{ending}"
    assert command("generate", run, "--interpolate", 3, "--out", out) == 0
    with Image.open(out) as movie:
        assert movie.format == ending.upper()
        assert getattr(movie, "n_frames", 1) == 24
        assert movie.info["loop"] == 0


def test_generate_is_the_same_every_time_and_by_either_path(run: Path, tmp_path: Path) -> None:
    first, file = sorted((run / "checkpoints").iterdir())
    assert int(first.stem) == 0
    for name, source, seed in (
        *(("a", run, 0), ("b", run, 0), ("c", file, 0)),
        *(("d", run, 1), ("e", first, 0)),  # before any training
    ):
        assert command("generate", source, "-n", 4, "--seed", seed, "--out", tmp_path / f"{name}.png") == 0
    a, b, c, d, e = ((tmp_path / f"{name}.png").read_bytes() for name in "abcde")
    assert a == b == c
    assert len({a, d, e}) == 3


def test_info(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("info", run) == 0
    printed = capsys.readouterr().out
    assert re.search(r"recipe: +mlp-relu", printed)
    assert re.search(r"trained: +384 images, 3 steps", printed)
    assert re.search(r"seed: +5\n", printed)
    assert re.search(r"data: +digits, 1,797 images, sha256 [0-9a-f]{16}", printed)
    assert "1×28×28" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "x.jpg"), "cannot write .jpg"),
        (("--out", "x.gif"), "--interpolate"),
        (("--interpolate", "3", "--out", "x.png"), "FILE.gif or FILE.webp"),
        (("-n", "0"), "-n"),
        (("-n", "10001", "--out", "x.png"), "10,000"),
        (("--device", "cdua"), "did you mean 'cuda'"),
    ],
)
def test_generate_refuses(
    arguments: tuple[str, ...],
    said: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("generate", run, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["generate", "info"])
def test_no_such_model(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(verb, tmp_path / "none") == 2
    assert capsys.readouterr().err == f"mulligan: {tmp_path / 'none'}: no such run directory or checkpoint\n"


def test_generate_into_a_place_that_is_none(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for out in ("file/x.png", "file/folder", "file"):
        assert command("generate", run, "-n", 1, "--out", tmp_path / out) == 2
        error = capsys.readouterr().err
        assert error.startswith("mulligan: --out ")
        assert error.count("\n") == 1


# Where a run goes


def test_runs_are_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    little = ("--data", "digits", "--steps", "1", *sets(small("mlp")))
    for _ in range(2):
        assert command("train", "mlp-relu", "--quiet", *little) == 0
    assert command("train", "mlp-smooth", "-q", *little) == 0
    printed = capsys.readouterr()
    today = date.today().isoformat()
    expected = [f"{today}-mlp-relu-1", f"{today}-mlp-relu-2", f"{today}-mlp-smooth-1"]
    assert printed.err == ""
    assert printed.out.splitlines() == [f"runs/{name}" for name in expected]  # nothing but the directory
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == expected

    (tmp_path / "runs" / f"{today}-mlp-relu-41").mkdir()
    assert command("train", "mlp-relu", "--quiet", *little) == 0
    assert capsys.readouterr().out == f"runs/{today}-mlp-relu-42\n"


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", "dcgan-softmax", "--data", "digits", "--dry-run", "--seed", 3) == 0
    printed = capsys.readouterr()
    assert "dcgan-softmax" in printed.out
    assert "64,000 images" in printed.out
    assert "seed 3" in printed.out
    assert printed.err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_finds_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", "dcgan-softmax", "--data", "digits", "--size", 30, "--dry-run") == 2
    assert "multiples of 4" in capsys.readouterr().err


def test_a_directory_that_is_not_empty_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert command("train", "mlp-relu", *LITTLE, "--out", run) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mulligan: --out {run}: is not empty")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    (tmp_path / "empty").mkdir()
    assert command("train", "mlp-relu", *LITTLE, "--out", tmp_path / "empty") == 0


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_a_place_that_cannot_be_written(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert command("train", "mlp-relu", *LITTLE, "--out", tmp_path / out) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(("mulligan: cannot write a run to ", "mulligan: --out "))
    assert printed.err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("trian",), "'train'"),
        (("train", "mlp-rleu"), "'mlp-relu'"),
        (("train", "./mlp-relu.tmol.toml"), ""),
        (("train", "--stesp", "3"), "--steps"),
        (("train", "--data", "digist"), "'digits'"),
        (("train", "mlp-relu", "--data", "digits", "--set", "generator.hiden=[3]"), "'hidden'"),
        (("train", "--data", "digits", "--set", "objective.kind=minmax"), "'minimax'"),
        (("train", "--data", "digits", "--set", "=3"), "--set '=3'"),
        (("train", "--data", "digits", "--set", "title=\udcff"), r"--set 'title=\udcff'"),
        (("train", "--data", "digits", "--set", "a\nb=3"), r"--set 'a\nb=3'"),
        (("train", "--data", "digits", "--set", "latent.size=0x" + "f" * 9999), "latent.size"),
        (("train", "--data", "digits", "--set", "data" + ".a" * 5000 + "=1"), "path.to.key=value"),
        (("train", "mi\0ne.toml"), r"mi\x00ne.toml"),
        (("train", "x" * 5000 + ".toml"), "xxx"),
        (("train", "mlp-relu.toml\udcff/x.toml"), r"\udcff"),
        (("train", "--data", "digits", "--device", "gpu"), "cpu"),
        (("train", "--steps", "0"), "--steps"),
        (("train", "--steps", "many"), "--steps"),
        (("train", "--minutes", "0"), "--minutes"),
        (("train", "--seed", "-1"), "--seed"),
        (("train", "mlp-relu", "mlp-tanh"), "mlp-tanh"),
        (("recipes", "shwo"), "'show'"),
        (("recipes", "show", "mlp-rleu"), "'mlp-relu'"),
        (("data", "fetc"), "'fetch'"),
        (("data", "verify", "mnits"), "'mnist'"),
        (("generate",), "SOURCE"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: tuple[str, ...],
    nearest: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"mulligan: .+\n", printed.err)
    assert nearest.lower() in printed.err.lower()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "mlp-relu", *LITTLE, "--device", "cuda", "--out", tmp_path / "run") == 2
    assert re.fullmatch(r"mulligan: --device cuda: .*--device cpu\n", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


# Help, version, recipes


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_names_every_command(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*arguments) == 0
    printed = capsys.readouterr().out
    assert all(
        re.search(rf"^ +{verb} ", printed, re.M)
        for verb in ("train", "resume", "generate", "info", "recipes", "data")
    )


@pytest.mark.parametrize("verb", ["train", "resume", "generate", "info", "recipes", "data"])
def test_every_command_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(verb, "-h") == 0
    assert f"{verb} " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--version") == 0
    assert capsys.readouterr().out == f"mulligan {mulligan.__version__}\n"
    said = subprocess.run([*MULLIGAN, "--version"], check=True, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == (f"mulligan {mulligan.__version__}\n", "")


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_table_of_recipes_is_whole_however_narrow(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert command("recipes") == 0
    printed = capsys.readouterr().out
    head, *rows = printed.splitlines()
    assert head.startswith("recipe ")
    assert [row.split()[0] for row in rows] == recipe.names()
    assert set(RECIPES) <= set(recipe.names())
    for row in rows:  # to the end of each
        assert row.endswith(f" {recipe.read(row.split()[0]).budget.images:,}")
    assert re.search(
        r"^mlp-batchnorm .* 100 normal .*128-256-512-1024.*g-then-d.* 64 .*6,000,000$", printed, re.M
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_was_shown_and_saved_is_the_recipe(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("recipes", "show", name) == 0
    mine = tmp_path / "mine.toml"
    mine.write_text(capsys.readouterr().out, encoding="utf-8")
    assert "# " in mine.read_text(encoding="utf-8")  # comments and all
    assert recipe.read(mine) == recipe.read(name)


def test_a_recipe_that_was_shown_and_saved_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("recipes", "show", "mlp-smooth") == 0
    Path("mine.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert command("train", "mine.toml", *LITTLE, "--out", "mine") == 0
    assert command("train", "mlp-smooth", *LITTLE, "--out", "theirs") == 0
    assert same(final(tmp_path / "mine"), final(tmp_path / "theirs"))


def test_data_list_and_a_set_that_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("data", "list") == 0
    printed = capsys.readouterr().out
    assert all(
        re.search(rf"^{name} ", printed, re.M) for name in ("mnist", "fashion-mnist", "kmnist", "digits")
    )


@pytest.mark.mnist
def test_data_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert locate("mnist") is not None
    assert command("data", "verify", "mnist") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_help_does_not_wait_for_torch() -> None:
    def best(tries: int, *arguments: str) -> float:
        times = []
        for _ in range(tries):
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(3, "-m", "mulligan", "--help") < best(1, "-c", "import torch") / 5


# TensorBoard


def test_tensorboard_writes_what_the_log_says(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    assert command("train", "mlp-tanh", *LITTLE, "--out", out, "--tensorboard") == 0
    (events,) = (out / "tensorboard").glob("events.out.tfevents.*")
    assert b"d_of_fake" in events.read_bytes()
    assert b"images_per_second" in events.read_bytes()


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert command("train", "mlp-relu", *LITTLE, "--out", tmp_path / "run", "--tensorboard") == 2
    assert "mulligan[track]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# Terminals and signals


def begun(run: Path, process: subprocess.Popen[bytes], rows: int = 2) -> None:
    """Wait until a run has logged something."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if (run / "log.jsonl").read_bytes().count(b'"d_real": ') >= rows:
                return
        assert process.poll() is None, "the run ended before it began"
        time.sleep(0.05)
    raise AssertionError("the run did not begin within a minute")


def training(out: Path) -> list[str]:
    """A command that trains until it is told not to."""
    overrides = sets((*small("mlp"), "log.every=12_800"))
    return [
        *MULLIGAN,
        "train",
        "mlp-relu",
        "--data",
        "digits",
        "--images",
        "1000000000",
        "--out",
        str(out),
        *overrides,
    ]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX has them")
def test_a_signal_ends_a_run_with_a_checkpoint(kind: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(training(out), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            begun(out, process)
            process.send_signal(kind)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr.decode() == "mulligan: finishing this step, then saving …\n"
    assert "interrupted: " in stdout.decode()
    assert f"go on:     mulligan resume {out}\n" in stdout.decode()
    assert "mulligan generate" not in stdout.decode()
    model = mulligan.load(out)
    assert model.about.steps >= logged_steps(out)[-1] >= 100
    assert (out / "grid.png").exists()
    assert (out / "timelapse.webp").exists()
    # Nothing that a run which was not interrupted would lack
    drawn = {path.relative_to(out).as_posix() for path in (out / "samples").rglob("*.png")}
    batch, due = 128, range(128, model.about.images + 1, 128_000)
    assert drawn == {f"samples/{images:012d}.png" for images in due} | {f"samples/timelapse/{batch:012d}.png"}
    assert model.sample(2).shape == (2, 1, 28, 28)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_shows_a_progress_bar_and_rows(tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    out = tmp_path / "run"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):  # which would go before what the terminal says
        environment.pop(name, None)
    shown = b""
    with subprocess.Popen(
        [*training(out), "--minutes", "0.03"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        try:
            while select.select([ours], [], [], 60)[0]:
                try:
                    read = os.read(ours, 65536)
                except OSError:  # how Linux says that the other end is closed
                    break
                if not read:
                    break
                shown += read
            assert process.wait(60) == 0
        finally:
            process.kill()
            os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"recipe: +mlp-relu", text)
    assert re.search(r"step +\d[\d,]* .*D loss [\d.]+ .*images/s", text)  # rows of the log
    assert len(re.findall(r"\d+% .*[\d,]+ images +[\d,]+/s +D [\d.]+ G [\d.]+", text)) >= 2  # the bar, moving
    assert "the time is up" in text
    assert shown.decode().count("\x1b[?25h") >= 1  # the cursor is back


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False)])
def test_a_terminal_shows_how_far_reading_is(
    terminal: bool, quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with reading(quiet):
        pass  # nothing to fetch or decode
    shown = capsys.readouterr().err
    assert ("getting ready" in shown) == (terminal and not quiet)
    assert "reading the data" not in shown
    assert bool(shown) == (terminal and not quiet)
    with reading(quiet) as show:
        if show:
            show(50, 200)
    assert ("reading the data" in capsys.readouterr().err) == (terminal and not quiet)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed as POSIX has them")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.run(
        [*MULLIGAN, "recipes"], stdout=writing, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(writing)
    assert process.stderr == b""
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed as POSIX has them")
def test_a_run_goes_on_when_its_reader_has_gone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*MULLIGAN, "train", "mlp-tanh", *LITTLE, "--out", str(tmp_path / "run")],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (process.stderr, process.returncode) == (b"", 0)
    assert mulligan.load(tmp_path / "run").about.steps == 3


def test_a_terminal_shows_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mulligan import training
    from mulligan.cli.console import Live

    shown = Live()
    try:
        plan = training.prepare("mlp-relu", data="digits", steps=1)
        shown.begin(plan.state, tmp_path / "a[/b][red]c", "mind [the] gap")
    finally:
        shown.end()
    said = capsys.readouterr().err.replace("\n", "")
    assert "a[/b][red]c" in said
    assert "mind [the] gap" in said


@pytest.mark.parametrize(
    "mistake", [("--minutes", "inf"), ("--set", "budget.minutes=inf"), ("--set", "latent.high=inf")]
)
def test_infinity_is_refused_before_anything_is_written(
    mistake: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", "mlp-relu", *LITTLE, "--out", tmp_path / "run", *mistake) == 2
    assert re.fullmatch(r"mulligan: .+\n", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


NEEDED = ("schema", "images", "steps", "seconds", "seed", "data", "recipe")


@pytest.mark.parametrize("lost", NEEDED)
def test_info_of_a_header_that_lacks_something(
    lost: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = checkpoint.read(checkpoint.find(run))
    meta = saved.meta.model_dump(mode="json", by_alias=True)
    assert meta.keys() - {"stopped", "scores", "mode"} == set(NEEDED)
    path = tmp_path / "lacking.safetensors"
    del meta[lost]
    path.write_bytes(save(saved.tensors, {"mulligan": json.dumps(meta)}))
    assert command("info", path) == 2
    assert re.fullmatch(rf"mulligan: {re.escape(str(path))}: .*\b{lost}\b.+\n", capsys.readouterr().err)
