"""A run that was killed and resumed equals one that was not, bit for bit; what is damaged is refused."""

from __future__ import annotations

import dataclasses
import errno
import io
import itertools
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import Tensor

import mulligan
from mulligan import checkpoint, cli, recipe, runlog, watching
from mulligan.data import Dataset, read_digits
from mulligan.errors import UserError
from mulligan.loop import Progress
from support import command, final, pictures, same, small, timeless_log, unexamined_log

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed as POSIX has it")

# Between them: all orders of data, an epoch that ends on the way, BatchNorm's buffers, spectral norm's
# vectors, averages, curves, penalties, the randomness of augmentation and instance noise, labels.
RECIPES = {
    "perceptrons": """
        extends = "mlp-relu"
        generator.hidden = [8]
        discriminator.hidden = [8]
        budget.images = 4_000
        log.every = 128
        samples.every = 500
        checkpoint = { every = 400, keep = 4 }
        """,
    "convolutions": """
        name = "convolutions"
        data = { batch = 64, last = "short" }
        latent.size = 8
        generator = { kind = "dcgan", width = 4, max_width = 8 }
        discriminator = { kind = "dcgan", width = 4, max_width = 8, spectral_norm = true }
        budget.images = 2_000
        log.every = 64
        samples = { every = 320, latents = "fresh" }
        checkpoint = { every = 300, keep = 3 }
        """,
    "penalties": """
        name = "penalties"
        data = { batch = 32, order = "replacement" }
        latent.size = 8
        generator = { kind = "resnet", width = 4, max_width = 8 }
        discriminator = { kind = "resnet", width = 4, max_width = 8 }
        condition.kind = "concat"
        objective.kind = "relativistic-paired"
        penalty = { r1 = 0.5, r2 = { images = [0, 600], values = [1.0, 0.1] } }
        augment.policy = ["color", "translation", "cutout"]
        augment.noise = { images = [0, 500], values = [0.2, 0.0] }
        optimizer.generator.lr = { images = [0, 700], values = [1e-3, 1e-4], shape = "cosine" }
        optimizer.discriminator.lr = { images = [0, 700], values = [1e-3, 1e-4], shape = "cosine" }
        ema.half_life = 200
        budget.images = 800
        log.every = 32
        samples.every = 200
        checkpoint = { every = 150, keep = 3 }
        """,
}
MOMENTS = {"perceptrons": 32, "convolutions": 32, "penalties": 25}  # rows of the log

LITTLE = ("--data", "digits", "--size", 8)


# Processes that are killed


TARGETS: dict[str, tuple[tuple[Any, str], ...]] = {
    "write": ((os, "fsync"), (os, "replace")),  # whatever is written: its bytes, its name, its folder
    "row": ((runlog.RunLog, "write"),),
    "save": ((checkpoint, "write"),),
    "ending": ((watching.Observer, "finish"),),
}


@dataclass(frozen=True)
class Trap:
    """Signals its own process before or after the n-th call of a kind, counted from where `once` is met."""

    at: str
    number: int
    after: bool = False
    signal: int = signal.SIGKILL
    once: Trap | None = None

    def set(self, spring: Callable[[], None] | None = None) -> None:
        if self.once:
            self.once.set(dataclasses.replace(self, once=None).set)
            return
        count = itertools.count(1)

        def trapped(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*arguments: Any, **options: Any) -> Any:
                mine = next(count) == self.number
                if mine and not self.after:
                    (spring or self.kill)()
                result = call(*arguments, **options)
                if mine and self.after:
                    (spring or self.kill)()
                return result

            return wrapper

        for owner, name in TARGETS[self.at]:
            mock.patch.object(owner, name, trapped(getattr(owner, name))).start()

    def kill(self) -> None:
        os.kill(os.getpid(), self.signal)


def child(arguments: Sequence[str], said: Path, trap: Trap | None, memory: int) -> None:
    """What a started process does: ``mulligan …``."""
    with said.open("wb", 0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if trap:
        trap.set()
    if memory:
        import resource

        here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (here + memory, here + memory))
    cli.main(list(arguments))


@dataclass
class Mulligans:
    """Starts processes that run ``mulligan …``, a hundred times faster than a new Python could."""

    context: multiprocessing.context.ForkServerContext
    folder: Path

    def start(self, *arguments: object, trap: Trap | None = None, memory: int = 0) -> BaseProcess:
        words = [str(argument) for argument in arguments]
        process = self.context.Process(target=child, args=(words, self.folder / "said", trap, memory))
        process.start()
        return process

    def __call__(self, *arguments: object, trap: Trap | None = None, memory: int = 0) -> tuple[int, str]:
        """Run one to its end; return its exit code and what it said."""
        process = self.start(*arguments, trap=trap, memory=memory)
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, (self.folder / "said").read_text()


@pytest.fixture(scope="module")
def mulligans(tmp_path_factory: pytest.TempPathFactory) -> Mulligans:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "mulligan.training", "mulligan.generation", "torch._dynamo"])
    with pytest.MonkeyPatch.context() as patch:
        here = str(Path(__file__).parent)
        patch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))
        started = Mulligans(context, tmp_path_factory.mktemp("said"))
        assert started("--version") == (0, f"mulligan {mulligan.__version__}\n")  # starts the server
    return started


@dataclass(frozen=True)
class Whole:
    """A run that nothing interrupted, and the command that made it, but for its ``--out``."""

    name: str
    run: Path
    train: tuple[object, ...]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    made: dict[str, Whole] = {}

    def make(name: str) -> Whole:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            (folder / "recipe.toml").write_text(RECIPES[name])
            train = ("train", folder / "recipe.toml", *LITTLE, "--seed", 7)
            made[name] = Whole(name, folder / "whole", train)
            assert command(*train, "--quiet", "--out", folder / "whole") == 0
        return made[name]

    return make


@pytest.fixture(params=RECIPES)
def whole(request: pytest.FixtureRequest, uninterrupted: Callable[[str], Whole]) -> Whole:
    return uninterrupted(request.param)


@pytest.fixture
def perceptrons(uninterrupted: Callable[[str], Whole]) -> Whole:
    return uninterrupted("perceptrons")


def assert_same_runs(run: Path, expected: Path) -> None:
    """Are they the same bit for bit, but for the time that they took?"""
    assert (checkpoint.find(run).name, run.exists()) == (checkpoint.find(expected).name, True)
    assert same(final(run), final(expected))
    assert timeless_log(run) == timeless_log(expected)
    ours, theirs = pictures(run), pictures(expected)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert (run / runlog.RECIPE).read_bytes() == (expected / runlog.RECIPE).read_bytes()
    assert list(run.rglob(".*.tmp")) == []


def kept(run: Path) -> list[str]:
    return [path.name for path in checkpoint.history(run)]


def contents(run: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(run.rglob("*"))}


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_any_write(whole: Whole, seed: int, mulligans: Mulligans, tmp_path: Path) -> None:
    """Kill, resume, kill, resume …: before or after a sync or a rename, of whatever file it is."""
    chance, run, deaths = random.Random(f"{whole.name} {seed}"), tmp_path / "run", 0
    code, said = mulligans(*whole.train, "--out", run, trap=Trap("write", chance.randint(9, 60)))
    while code == -signal.SIGKILL:
        deaths += 1
        trap = Trap("write", chance.randint(8, 70), after=chance.random() < 0.5)
        code, said = mulligans("resume", run, trap=trap)
    assert code == 0, said
    assert deaths >= 2
    assert_same_runs(run, whole.run)
    assert kept(run) == kept(whole.run)


# A checkpoint's writes: 1 syncs its bytes, 2 gives it its name, 3 syncs the folder; then older ones go.
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2, 3])
def test_killed_at_a_checkpoint(
    write: int, after: bool, perceptrons: Whole, mulligans: Mulligans, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trap = Trap("write", write, after, once=Trap("save", 7))
    assert mulligans(*perceptrons.train, "--out", run, trap=trap)[0] == -signal.SIGKILL
    named = (write, after) >= (2, True)
    assert len(list((run / checkpoint.FOLDER).glob(".*.tmp"))) == (not named)
    assert checkpoint.find(run).stem == ("000000002432" if named else "000000002048")
    assert len(kept(run)) == (5 if named else 4)
    assert command("resume", run) == 0
    assert_same_runs(run, perceptrons.run)
    assert kept(run) == kept(perceptrons.run)


def test_signalled_killed_and_signalled(whole: Whole, mulligans: Mulligans, tmp_path: Path) -> None:
    """Ctrl-C, kill -9 and SIGTERM, each at a random update of one run, all resumed."""
    run, rows = tmp_path / "my run", MOMENTS[whole.name]
    moments = sorted(random.Random(whole.name).sample(range(2, rows - 2), 3))
    logged = 0
    arguments: tuple[object, ...] = (*whole.train, "--out", run)
    for moment, kind in zip(moments, (signal.SIGINT, signal.SIGKILL, signal.SIGTERM), strict=True):
        code, said = mulligans(*arguments, trap=Trap("row", moment - logged, signal=kind))
        if kind == signal.SIGKILL:
            assert code == -signal.SIGKILL
            logged = sum(row["images"] <= int(checkpoint.find(run).stem) for row in runlog.rows(run))
        else:
            assert code == 130
            assert "finishing this step, then saving" in said
            assert f"mulligan resume '{run}'\n" in said  # as a shell takes it
            logged = len(runlog.rows(run))
            assert logged == moment
            assert int(checkpoint.find(run).stem) == runlog.rows(run)[-1]["images"]
            assert (run / runlog.GRID).exists()
        arguments = ("resume", run)
    assert mulligans(*arguments)[0] == 0
    assert_same_runs(run, whole.run)


def test_killed_from_outside(perceptrons: Whole, tmp_path: Path) -> None:
    """The command as a shell starts it, killed by another process at no moment of its own choosing."""
    run, words = tmp_path / "run", [str(word) for word in perceptrons.train]
    with subprocess.Popen(
        [sys.executable, "-m", "mulligan", *words, "--out", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for_rows(run, process.poll)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(timeless_log(run)) < MOMENTS["perceptrons"]
    assert command("resume", run) == 0
    assert_same_runs(run, perceptrons.run)


def wait_for_rows(run: Path, ended: Callable[[], int | None], rows: int = 3) -> None:
    deadline = time.monotonic() + 60
    while not (run / runlog.LOG).exists() or (run / runlog.LOG).read_bytes().count(b"\n") < rows:
        assert ended() is None, "the run ended before it began"
        assert time.monotonic() < deadline, "the run did not begin within a minute"
        time.sleep(0.002)


def test_killed_before_there_was_a_checkpoint(
    perceptrons: Whole, mulligans: Mulligans, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Three writes each for recipe.toml, environment.json and the checkpoint at 0.
    assert mulligans(*perceptrons.train, "--out", run, trap=Trap("write", 8))[0] == -signal.SIGKILL
    before = contents(run)
    code, said = mulligans("resume", run)
    assert code == 2
    assert said.startswith(f"mulligan: {run}: no checkpoint here")
    assert contents(run) == before
    shutil.rmtree(run)

    assert mulligans(*perceptrons.train, "--out", run, trap=Trap("write", 8, after=True))[0] < 0
    assert kept(run) == ["000000000000.safetensors"]
    assert mulligans("resume", run)[0] == 0
    assert_same_runs(run, perceptrons.run)


def test_killed_at_its_pictures_after_its_stop_rule(mulligans: Mulligans, tmp_path: Path) -> None:
    """The last checkpoint knows that the rule has ended the run, so that resume does not train on."""
    rule = '{ kind = "d-of-fake", low = 0.0, high = 1.0, min_steps = 5 }'
    train = ("train", "mlp-tanh", *LITTLE, "--set", f"stop={rule}", *sets(small("mlp")))
    assert command(*train, "--out", tmp_path / "whole") == 0
    assert len(unexamined_log(tmp_path / "whole")) == 5
    killed = mulligans(*train, "--out", tmp_path / "run", trap=Trap("ending", 1))
    assert killed[0] == -signal.SIGKILL
    assert command("resume", tmp_path / "run") == 0
    assert_same_runs(tmp_path / "run", tmp_path / "whole")
    # Only a budget that is asked for takes it further; the rule then speaks again.
    assert command("resume", tmp_path / "run", "--images", 2000) == 0
    assert len(unexamined_log(tmp_path / "run")) == 6


def sets(overrides: Sequence[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


# Budgets


@pytest.fixture
def run(tmp_path: Path, finished: Path) -> Path:
    """A run of its own for each test: eight updates, its last checkpoint at the end."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


TINY = (
    "mlp-relu",
    *LITTLE,
    "--precision",
    "exact",
    *sets((*small("mlp"), "log.every=128", "samples.every=256")),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert command("train", *TINY, "--images", 1000, "--out", out) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must say no: one line, exit code 2, nothing printed."""
    capsys.readouterr()
    assert command(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"mulligan: [^\n]+\n", printed.err)
    return printed.err


def test_a_larger_budget_takes_a_finished_run_further(run: Path, tmp_path: Path) -> None:
    assert command("resume", run, "--images", 2000) == 0
    assert command("train", *TINY, "--images", 2000, "--out", tmp_path / "at once") == 0
    assert same(final(run), final(tmp_path / "at once"))
    assert unexamined_log(run) == unexamined_log(tmp_path / "at once")
    assert (run / runlog.GRID).read_bytes() == (tmp_path / "at once" / runlog.GRID).read_bytes()
    assert recipe.read(run / runlog.RECIPE).budget.images == 2000


def test_a_budget_below_what_was_seen_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    assert "--images 999: " in refused(capsys, "resume", run, "--images", 999)
    assert "has already seen 1024" in refused(capsys, "resume", run, "--images", 1023)
    assert contents(run) == before
    assert command("resume", run, "--images", 1024) == 0


def test_a_finished_run_is_drawn_again_and_left_alone(run: Path, finished: Path) -> None:
    """Eight batches of 128 are a little more than the budget of 1,000: it is spent all the same."""
    for name in (runlog.GRID, runlog.TIMELAPSE):
        (run / name).unlink()
    shutil.rmtree(run / runlog.SAMPLES)
    before = checkpoint.find(run).read_bytes()
    assert command("resume", run) == 0
    assert checkpoint.find(run).read_bytes() == before
    assert timeless_log(run) == timeless_log(finished)
    drawn = pictures(run)
    assert drawn["grid.png"] == pictures(finished)["grid.png"]
    assert "samples/000000001024.png" in drawn
    assert "timelapse.webp" in drawn


def test_a_run_that_minutes_cut_off_goes_on_to_its_images(perceptrons: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command(*perceptrons.train, "--minutes", 1e-3, "--out", run) == 0
    assert len(timeless_log(run)) < MOMENTS["perceptrons"]
    assert command("resume", run, "--minutes", 1e-6) == 0  # one update more
    assert command("resume", run) == 0
    assert same(final(run), final(perceptrons.run))
    assert timeless_log(run) == timeless_log(perceptrons.run)
    ours, theirs = pictures(run), pictures(perceptrons.run)
    # The pictures of what were its ends for a while stay in the time lapse.
    assert all(ours[name] == theirs[name] for name in theirs if name != runlog.TIMELAPSE)


def test_resuming_from_python(run: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    further = mulligan.resume(run, images=1500, on_progress=seen.append)
    assert (further.images, further.steps) == (1536, 12)
    assert seen[-1].images == 1536
    assert command("train", *TINY, "--images", 1500, "--out", tmp_path / "at once") == 0
    assert (further.sample(3) == mulligan.load(tmp_path / "at once").sample(3)).all()


# What has changed


def test_a_changed_recipe_is_named_and_can_be_accepted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (run / runlog.RECIPE).read_text()
    (run / runlog.RECIPE).write_text(text.replace("lr = 0.001", "lr = 0.002", 1))
    before = contents(run)
    said = refused(capsys, "resume", run, "--images", 1100)
    assert "optimizer.generator.lr was 0.001, is 0.002" in said
    assert "--accept-changes" in said
    assert contents(run) == before
    assert command("resume", run, "--images", 1100, "--accept-changes") == 0
    assert "0.002" in (run / runlog.RECIPE).read_text()
    assert command("resume", run, "--images", 1200) == 0  # the checkpoint has the change by now


def test_a_recipe_that_fits_no_more_is_refused_whatever_is_accepted(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = recipe.read(run / runlog.RECIPE, ["generator.hidden=[5]"])
    (run / runlog.RECIPE).write_text(wider.to_toml())
    before = contents(run)
    assert "generator.hidden" in refused(capsys, "resume", run, "--images", 1100)
    assert "does not fit" in refused(capsys, "resume", run, "--images", 1100, "--accept-changes")
    (run / runlog.RECIPE).write_text("name = 3")
    assert "name" in refused(capsys, "resume", run, "--accept-changes")
    (run / runlog.RECIPE).unlink()
    assert "recipe.toml" in refused(capsys, "resume", run, "--accept-changes")
    assert contents(run).keys() == before.keys() - {run / runlog.RECIPE}


def test_changed_data_is_named_and_can_be_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "images", tmp_path / "run"
    folder.mkdir()
    for i, image in enumerate(read_digits(8).images[:150]):
        Image.fromarray(image[0]).save(folder / f"{i:03d}.png")
    train = ("train", "mlp-relu", "--data", folder, "--size", 8, *sets(small("mlp")))
    assert command(*train, "--images", 256, "--out", run) == 0
    assert command("resume", run, "--images", 384) == 0

    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(folder / "005.png")
    before = contents(run)
    said = refused(capsys, "resume", run, "--images", 512)
    old = json.loads((run / runlog.ENVIRONMENT).read_text())["data"]["sha256"]
    assert f"had sha256 {old[:12]}" in said
    assert "--accept-changes" in said
    assert contents(run) == before
    assert command("resume", run, "--images", 512, "--accept-changes") == 0
    assert command("resume", run, "--images", 640) == 0

    folder.rename(tmp_path / "moved")
    assert str(folder) in refused(capsys, "resume", run, "--images", 768)
    assert command("resume", run, "--images", 768, "--data", tmp_path / "moved") == 0
    assert len(timeless_log(run)) > 0
    assert command("resume", run, "--images", 896) == 0  # it knows by now where they are


def test_images_handed_over_in_python_must_be_handed_over_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, run = Dataset("few", read_digits(8).images[:300]), tmp_path / "run"
    mulligan.train("mlp-relu", data=few, images=256, out=run, overrides=small("mlp"))
    before = contents(run)
    assert "data=" in refused(capsys, "resume", run, "--images", 512)
    assert "its data has changed" in refused(capsys, "resume", run, "--images", 512, "--data", "digits")
    other = Dataset("few", few.images[::-1].copy())
    with pytest.raises(UserError, match="its data has changed: few had sha256"):
        mulligan.resume(run, images=512, data=other)
    assert contents(run) == before
    mulligan.resume(run, images=512, data=few)
    mulligan.train("mlp-relu", data=few, images=512, out=tmp_path / "whole", overrides=small("mlp"))
    assert same(final(run), final(tmp_path / "whole"))


# What cannot be resumed


def test_what_is_no_run_directory(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    assert "takes the run directory" in refused(capsys, "resume", checkpoint.find(run))
    assert contents(run) == before
    assert "no such run directory" in refused(capsys, "resume", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no checkpoint here" in refused(capsys, "resume", tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_two_processes_in_one_directory(
    mulligans: Mulligans, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, tiny = tmp_path / "run", ("train", *TINY, "--set", "samples.every=0")
    process = mulligans.start(*tiny, "--images", 10**9, "--out", run)
    try:
        wait_for_rows(run, lambda: process.exitcode)
        began = time.monotonic()
        assert "another process is training here" in refused(capsys, "resume", run)
        assert time.monotonic() - began < 5
        assert process.is_alive()
        rows = len(timeless_log(run))
        wait_for_rows(run, lambda: process.exitcode, rows + 2)  # it goes on
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        process.join(60)
    assert process.exitcode == 130
    seen = int(checkpoint.find(run).stem)
    assert command(*tiny, "--images", seen, "--out", tmp_path / "alone") == 0
    assert same(final(run), final(tmp_path / "alone"))
    assert unexamined_log(run) == unexamined_log(tmp_path / "alone")
    assert command("resume", run, "--images", seen) == 0  # the lock went with its process


@pytest.mark.parametrize("line", ['{"images": 1e999}', '{"images": "x"}', "[1]", "{", "\x00", "1"])
def test_a_damaged_log_is_refused(line: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / runlog.LOG).write_text(f"{line}\n" + (run / runlog.LOG).read_text())
    before = contents(run)
    assert "log.jsonl: is damaged" in refused(capsys, "resume", run)
    assert contents(run) == before


def test_a_row_that_was_cut_short_is_written_again(perceptrons: Whole, tmp_path: Path) -> None:
    run = Path(shutil.copytree(perceptrons.run, tmp_path / "run"))
    checkpoint.find(run).unlink()
    log = (run / runlog.LOG).read_bytes()
    (run / runlog.LOG).write_bytes(log[:-40])
    (run / "samples" / ".000000003999.png.123.tmp").write_bytes(b"half")
    assert command("resume", run) == 0
    assert_same_runs(run, perceptrons.run)


def test_files_of_the_users_own_are_no_checkpoints(run: Path) -> None:
    own = [run / checkpoint.FOLDER / name for name in ("1 (copy).safetensors", "9-best.safetensors", "9.txt")]
    for path in own:
        path.write_bytes(b"mine")
    every = ("--set", "checkpoint.every=128", "--set", "checkpoint.keep=2")
    assert command("resume", run, "--images", 1500) == 0
    assert command("train", *TINY, *every, "--images", 384, "--out", run.parent / "thin") == 0
    assert [path.read_bytes() for path in own] == [b"mine"] * 3
    assert checkpoint.find(run).name == "000000001536.safetensors"


# Damaged and hostile checkpoints


def reading(file: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a checkpoint apart, by nothing but its format: tensors, and what the header says."""
    from safetensors.torch import load

    size = int.from_bytes(file[:8], "little")
    return load(file), json.loads(json.loads(file[8 : 8 + size])["__metadata__"]["mulligan"])


def writing(tensors: dict[str, Tensor], meta: object) -> bytes:
    return save(tensors, {"mulligan": meta if isinstance(meta, str) else json.dumps(meta)})


def raw(table: object, body: bytes = b"") -> bytes:
    """A safetensors file with any header at all."""
    header = json.dumps(table).encode()
    return len(header).to_bytes(8, "little") + header + body


def with_meta(**changes: Any) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        tensors, meta = reading(file)
        return writing(tensors, {**meta, **changes})

    return change


def with_data(**changes: Any) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        tensors, meta = reading(file)
        return writing(tensors, {**meta, "data": {**meta["data"], **changes}})

    return change


def with_recipe(**changes: Any) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        tensors, meta = reading(file)
        return writing(tensors, {**meta, "recipe": {**meta["recipe"], **changes}})

    return change


def without_meta(key: str) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        tensors, meta = reading(file)
        meta.pop(key)
        return writing(tensors, meta)

    return change


def with_tensor(name: str, tensor: Tensor | Callable[[Tensor], Tensor] | None) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        tensors, meta = reading(file)
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor if isinstance(tensor, Tensor) else tensor(tensors[name]).contiguous()
        return writing(tensors, meta)

    return change


def with_header(**entries: object) -> Callable[[bytes], bytes]:
    """Change what the file's own header says of its tensors."""

    def change(file: bytes) -> bytes:
        size = int.from_bytes(file[:8], "little")
        return raw({**json.loads(file[8 : 8 + size]), **entries}, file[8 + size :])

    return change


def a_zip(_: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return buffer.getvalue()


def a_torch_pickle(_: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"generator": torch.zeros(3)}, buffer)
    return buffer.getvalue()


def flipped(file: bytes, bit: int) -> bytes:
    damaged = bytearray(file)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


WEIGHT = "generator.layers.0.weight"
SHAPE = {"dtype": "F32", "data_offsets": [0, 4]}

# Refused by every command that reads a checkpoint.
DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda file: file[:1],
    "cut in its length": lambda file: file[:7],
    "cut after its length": lambda file: file[:8],
    "cut in its header": lambda file: file[:500],
    "cut after its header": lambda file: file[: 8 + int.from_bytes(file[:8], "little")],
    "cut in its tensors": lambda file: file[: len(file) // 2],
    "cut at its end": lambda file: file[:-1],
    "followed by more": lambda file: file + b"\0",
    "random bytes": lambda file: random.Random(1).randbytes(len(file)),
    "zeros": lambda file: bytes(len(file)),
    "ones": lambda file: b"\xff" * len(file),
    "a pickle": lambda _: pickle.dumps({"generator": [1.0]}),
    "a zip": a_zip,
    "a torch pickle": a_torch_pickle,
    "a header of 2^63 bytes": lambda file: (2**63).to_bytes(8, "little") + file[8:],
    "a header of 90 MB": lambda _: (90_000_000).to_bytes(8, "little") + b" " * 90_000_000,
    "a header that is no JSON": lambda file: flipped(file, 8 * 8),
    "a header that is a list": lambda _: raw([1, 2, 3]),
    "another schema": with_meta(schema=2),
    "a schema that is a list": with_meta(schema=[1]),
    "no schema": without_meta("schema"),
    "no recipe": without_meta("recipe"),
    "no data": without_meta("data"),
    "no steps": without_meta("steps"),
    "an unknown key": with_meta(code="import os"),
    "images NaN": with_meta(images=float("nan")),
    "images infinite": with_meta(images=float("inf")),
    "images negative": with_meta(images=-1),
    "images huge": with_meta(images=10**400),
    "images beyond what an integer may print": lambda file: writing(
        reading(file)[0], '{"schema": 1, "images": ' + "9" * 5000 + "}"
    ),
    "steps a text": with_meta(steps="many"),
    "seconds NaN": with_meta(seconds=float("nan")),
    "seed negative": with_meta(seed=-3),
    "sides NaN": with_data(image_shape=[1, float("nan"), 8]),
    "sides negative": with_data(image_shape=[1, -8, 8]),
    "sides nought": with_data(image_shape=[0, 8, 8]),
    "sides huge": with_data(image_shape=[1, 10**9, 10**9]),
    "too few sides": with_data(image_shape=[8, 8]),
    "a hash that is none": with_data(sha256="../../etc"),
    "class names without end": with_data(class_names=["x"] * 1001),
    "parts without end": with_data(parts=[[1]] * 1001),
    "parts of a class without end": with_data(parts=[[1] * 1001]),
    "a class of no parts": with_data(parts=[[]]),
    "parts of fewer than none": with_data(parts=[[-1, 5]]),
    "more parts than anything has": with_data(parts=[[1] * 900] * 100),
    "parts of what nothing is told of": with_data(parts=[[3, 4]]),
    "a name that is no text": with_data(name="\ud800"),
    "a recipe that is a list": with_meta(recipe=[]),
    "a recipe that is empty": with_meta(recipe={}),
    "a recipe with an unknown key": with_recipe(**{"\x1b[31mevil": 1}),
    "a recipe with a wrong value": with_recipe(latent={"size": -1}),
    "a recipe of other widths": with_recipe(latent={"size": 99}),
    "a recipe of absurd widths": with_recipe(generator={"kind": "mlp", "hidden": [10**9]}),
    "a recipe of vast widths": with_recipe(generator={"kind": "mlp", "hidden": [16384] * 16}),
    "a recipe nested without end": lambda file: writing(
        reading(file)[0], '{"schema": 1, "recipe": ' + '{"a":' * 50_000 + "1" + "}" * 50_001
    ),
    "no tensors": lambda file: writing({}, reading(file)[1]),
    "a weight missing": with_tensor(WEIGHT, None),
    "a weight of another shape": with_tensor(WEIGHT, torch.zeros(3, 3)),
    "a weight of no shape": with_tensor(WEIGHT, torch.zeros(())),
    "a weight that is half as exact": with_tensor(WEIGHT, lambda old: old.half()),
    "a weight that is twice as exact": with_tensor(WEIGHT, lambda old: old.double()),
    "a weight of integers": with_tensor(WEIGHT, lambda old: old.int()),
    "a weight of complex numbers": with_tensor(WEIGHT, lambda old: old.to(torch.complex64)),
    "a weight that is not a number": with_tensor(WEIGHT, lambda old: old * float("nan")),
    "a weight that is infinite": with_tensor(WEIGHT, lambda old: old / 0),
    "a name that leads out": with_tensor("generator.../../../escaped", torch.zeros(1)),
    "a name that is absolute": with_tensor("generator./tmp/escaped", torch.zeros(1)),
    "a tensor of negative shape": with_header(x={**SHAPE, "shape": [-1]}),
    "a tensor of a shape that is not a number": with_header(x={**SHAPE, "shape": [float("nan")]}),
    "a tensor of huge shape": with_header(x={**SHAPE, "shape": [2**62, 2**62]}),
    "a tensor beyond the end": with_header(x={**SHAPE, "shape": [1], "data_offsets": [10**9, 10**9 + 4]}),
    "a tensor of an unknown type": with_header(x={**SHAPE, "shape": [1], "dtype": "PICKLE"}),
}

# Refused where images are drawn; resume asks the data for their sides.
UNDRAWN = {"sides beyond the weights": with_data(image_shape=[1, 1024, 1024])}

# Refused by resume; what is drawn from them is whole.
UNFIT: dict[str, Callable[[bytes], bytes]] = {
    "D's weight missing": with_tensor("discriminator.body.0.weight", None),
    "D's weight of another shape": with_tensor("discriminator.body.0.weight", torch.zeros(3, 3)),
    "D's weight not a number": with_tensor("discriminator.body.0.weight", lambda old: old * float("nan")),
    "D's weight twice as exact": with_tensor("discriminator.body.0.weight", lambda old: old.double()),
    "a moment missing": with_tensor("g_optimizer.0.exp_avg", None),
    "a moment of another shape": with_tensor("g_optimizer.0.exp_avg", torch.zeros(5)),
    "a moment of no shape": with_tensor("d_optimizer.0.exp_avg_sq", torch.zeros(())),
    "a moment of integers": with_tensor("d_optimizer.0.exp_avg_sq", lambda old: old.int()),
    "a moment of a parameter too many": with_tensor("g_optimizer.99.exp_avg", torch.zeros(())),
    "a moment of no parameter": with_tensor("g_optimizer.x.exp_avg", torch.zeros(())),
    "a moment unknown": with_tensor("g_optimizer.0.momentum", torch.zeros(())),
    "a step that is a vector": with_tensor("g_optimizer.0.step", torch.ones(2)),
    "a step that is nought": with_tensor("g_optimizer.0.step", torch.zeros(())),
    "a step that is not a number": with_tensor("g_optimizer.0.step", torch.tensor(float("nan"))),
    "steps without moments": with_meta(steps=0),
    "a position that is negative": with_tensor("stream.position", torch.tensor(-1)),
    "a position that is huge": with_tensor("stream.position", torch.tensor(2**63 - 1)),
    "a position that is a fraction": with_tensor("stream.position", torch.tensor(1.5)),
    "a position that is a vector": with_tensor("stream.position", torch.tensor([1, 2])),
    "a position missing": with_tensor("probe.position", None),
    "a random state cut short": with_tensor("stream.rng", lambda old: old[:-8]),
    "a random state of nothing": with_tensor("stream.rng", lambda old: old[:0]),
    "a random state too long": with_tensor("probe.rng", lambda old: torch.cat([old, old])),
    "a random state of another type": with_tensor("stream.rng", lambda old: old.float()),
    "a random state of ones": with_tensor("stream.rng", lambda old: torch.full_like(old, 255)),
    "a random state missing": with_tensor("stream.rng", None),
    "data that is nowhere": with_data(source="no/such/folder"),
    "data that is a name of nothing": with_data(source="\x1b[2J"),
    "data of another size": with_data(size=9),
}


def assert_refused_by_all(
    run: Path, verbs: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, path = contents(run), checkpoint.find(run)
    for verb in verbs:
        out: tuple[object, ...] = ("--out", tmp_path / "x.png") if verb == "generate" else ()
        said = refused(capsys, verb, run, *out)
        assert said.startswith(f"mulligan: {path}: ") or verb == "resume"
        assert said.removesuffix("\n").isprintable()
        assert len(said) < 1000
    assert contents(run) == before
    assert sorted(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_checkpoint_is_refused_by_all(
    fault: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint.find(run)
    path.write_bytes(DAMAGED[fault](path.read_bytes()))
    assert_refused_by_all(run, ("generate", "info", "resume"), tmp_path, capsys)


@pytest.mark.parametrize("fault", UNDRAWN)
def test_what_cannot_be_drawn_is_refused(
    fault: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint.find(run)
    path.write_bytes(UNDRAWN[fault](path.read_bytes()))
    assert_refused_by_all(run, ("generate", "info"), tmp_path, capsys)


@pytest.mark.parametrize("fault", UNFIT)
def test_what_cannot_go_on_is_refused_by_resume(
    fault: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint.find(run)
    path.write_bytes(UNFIT[fault](path.read_bytes()))
    assert_refused_by_all(run, ("resume",), tmp_path, capsys)
    assert command("info", run) == 0


def test_no_tensor_is_written_anywhere(run: Path, tmp_path: Path) -> None:
    """Names are names: one that no part of a run asks for is never read."""
    path, before = checkpoint.find(run), sorted(tmp_path.rglob("*"))
    path.write_bytes(with_tensor("../../../escaped", torch.zeros(1))(path.read_bytes()))
    assert command("info", run) == 0
    assert sorted(tmp_path.rglob("*")) == before


@settings(max_examples=60)
@given(st.data())
def test_a_bit_that_flips_in_the_header_never_breaks_anything(
    tmp_path_factory: pytest.TempPathFactory, finished: Path, data: st.DataObject
) -> None:
    """It is refused in one line, or means no harm: a digit of the seconds, a letter of the title."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("flipped") / "run"))
    path = checkpoint.find(run)
    file = path.read_bytes()
    size = int.from_bytes(file[:8], "little")
    path.write_bytes(flipped(file, data.draw(st.integers(0, 8 * (8 + size) - 1))))
    before = contents(run)
    for read in (mulligan.load, mulligan.resume):
        said = ""
        try:
            read(run)
        except UserError as error:
            said = str(error)
        assert said.isprintable()
        assert not said or contents(run) == before
    shutil.rmtree(run.parent)


@settings(max_examples=60)
@given(st.data())
def test_a_checkpoint_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, finished: Path, data: st.DataObject
) -> None:
    file = checkpoint.find(finished).read_bytes()
    path = tmp_path_factory.mktemp("cut") / "1.safetensors"
    path.write_bytes(file[: data.draw(st.integers(0, len(file) - 1))])
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        mulligan.load(path)


HOSTILE = ("a recipe of absurd widths", "a recipe of vast widths")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured as Linux has it")
@pytest.mark.parametrize("fault", [*HOSTILE, "a header of 90 MB", "a tensor of huge shape", "nested lists"])
def test_what_a_file_merely_claims_takes_no_memory(fault: str, run: Path, mulligans: Mulligans) -> None:
    """Refused with 256 MB to spare; the recipe beside it claims the same."""
    path = checkpoint.find(run)
    lists = '{"schema": 1, "recipe": {"name": [' + "[]," * 690_000 + "[]]}}"
    file = path.read_bytes()
    path.write_bytes(DAMAGED[fault](file) if fault in DAMAGED else writing(reading(file)[0], lists))
    if fault == "a recipe of vast widths":
        table = recipe.from_dict(reading(path.read_bytes())[1]["recipe"])
        (run / runlog.RECIPE).write_text(table.to_toml())
    for verb in ("info", "resume"):
        code, said = mulligans(verb, run, memory=256 << 20)
        assert (code, said.count("\n")) == (2, 1), said
        assert "memory" not in said
    if fault == "a recipe of vast widths":
        assert "weights" in said


def test_a_name_sends_nothing_to_the_terminal(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint.find(run)
    path.write_bytes(with_data(name="\x1b[2Jx\nfake: line")(path.read_bytes()))
    capsys.readouterr()
    assert command("info", run) == 0
    said = capsys.readouterr().out
    assert r"data:        \x1b[2Jx\nfake: line, 1,797 images" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_texts_that_are_too_long_to_be_read_back_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = tmp_path / "long.toml", tmp_path / "run"
    file.write_text(f"extends = 'mlp-relu'\ntitle = '{'x' * 1_040_000}'\n")
    train = ("train", file, *LITTLE, *sets(small("mlp")), "--quiet", "--images", 128, "--out", run)
    assert command(*train) == 0
    assert command("info", run) == 0
    shutil.rmtree(run)
    file.write_text(f"extends = 'mlp-relu'\ntitle = '{chr(34) * 300_000}'\n")
    assert "too long" in refused(capsys, *train)
    assert not run.exists()


# Full and read-only disks


class Mount(Protocol):
    def __call__(self, kilobytes: int) -> Path: ...


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes small file systems."""
    mounted: list[Path] = []

    def make(kilobytes: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("mounting is not permitted here")
        mounted.append(place)
        return place

    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # a checkpoint may still be mapped


@pytest.mark.parametrize("spare", [100, 180, 240, 300])
def test_a_full_disk(
    spare: int, mount: Mount, perceptrons: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever in the run it fills up: exit code 1, one line, and all goes on once there is space."""
    disk = mount(4096)
    (disk / "ballast").write_bytes(bytes((4096 - spare) * 1024))
    run = disk / "run"
    assert command(*perceptrons.train, "--quiet", "--out", run) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"mulligan: [^\n]*No space left on device[^\n]*\n", printed.err)
    assert f"`mulligan resume {run}` goes on" in printed.err
    images = mulligan.load(run).about.images
    assert images < 4000
    # Still full: resume says so, and takes nothing with it
    code = command("resume", run, "--quiet")
    assert (code, capsys.readouterr().err.count("\n")) in {(1, 1), (2, 1)}
    assert mulligan.load(run).about.images >= images

    (disk / "ballast").unlink()
    assert command("resume", run) == 0
    assert_same_runs(run, perceptrons.run)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [11, 17, 24, 31])
def test_a_write_that_fails(
    call: str,
    number: int,
    perceptrons: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, real, count = tmp_path / "run", getattr(os, call), itertools.count(1)

    def fails(*arguments: Any) -> Any:
        if next(count) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, call, fails)
    assert command(*perceptrons.train, "--quiet", "--out", run) == 1
    assert re.fullmatch(r"mulligan: [^\n]*No space left on device[^\n]*\n", capsys.readouterr().err)
    assert list(run.rglob(".*.tmp")) == []
    assert refused(capsys, "resume", run).startswith(f"mulligan: {run}: cannot be written: No space left")
    monkeypatch.undo()
    assert mulligan.load(run).about.images < 4000
    assert command("resume", run) == 0
    assert_same_runs(run, perceptrons.run)


def test_a_disk_that_is_read_only(mount: Mount, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = mount(4096)
    run = Path(shutil.copytree(finished, disk / "run"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = contents(run)
    said = refused(capsys, "resume", run, "--images", 2000)
    assert said == f"mulligan: {run}: cannot be written: Read-only file system\n"
    assert contents(run) == before
    assert command("info", run) == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    places = [run, *(path for path in before if path.is_dir())]
    for path in [*before, run]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert "cannot be written: Permission denied" in refused(capsys, "resume", run, "--images", 2000)
    finally:
        for path in places:
            path.chmod(0o755)
    assert contents(run) == before


def test_a_lock_that_cannot_be_opened(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / runlog.LOCK).unlink()
    (run / runlog.LOCK).mkdir()
    assert refused(capsys, "resume", run) == f"mulligan: {run}: cannot be written: Is a directory\n"


# What no checkpoint could record is refused before anything is written


def test_a_run_that_could_not_be_saved_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Dataset("few", read_digits(8).images[:300])
    out = tmp_path / "run"
    assert "--seed" in refused(capsys, "train", "mlp-relu", *LITTLE, "--seed", 10**16, "--out", out)
    for wrong, said in (
        (dataclasses.replace(few, name="few\ud800"), "not Unicode"),
        (dataclasses.replace(few, images=np.zeros((130, 1, 8, 1025), np.uint8)), "1024"),
        (dataclasses.replace(few, labels=np.zeros(300, np.int64), class_names=("x",) * 1001), "1000"),
    ):
        with pytest.raises(UserError, match=said):
            mulligan.train("mlp-relu", data=wrong, steps=1, out=out)
    assert not out.exists()
