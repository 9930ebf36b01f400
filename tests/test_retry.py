"""The second shot: back to an earlier moment, something changed, on in a new run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import mulligan
from mulligan import checkpoint, runlog
from mulligan.data import Dataset, read_digits
from support import command, same

TINY = (
    "generator.hidden=[8]",
    "discriminator.hidden=[8]",
    "log.every=64",
    "checkpoint.every=128",
    "samples.every=128",
    "card.every=0",
    "data.batch=32",
)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "parent"
    mulligan.train("mlp-relu", data="digits", images=512, out=run, overrides=TINY, precision="exact")
    return run


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_it_begins_where_the_other_was_and_leaves_it_as_it_is(parent: Path, tmp_path: Path) -> None:
    before = contents(parent)
    run = mulligan.retry(
        parent, from_images=300, overrides=("optimizer.generator.lr=1e-4",), out=tmp_path / "new"
    )
    assert contents(parent) == before
    assert run.images == 512
    first, *_ = checkpoint.history(run.directory)
    assert first.name == "000000000256.safetensors"
    old, new = (checkpoint.read(path / "checkpoints" / first.name) for path in (parent, run.directory))
    assert same(old.tensors, new.tensors)
    inherited = [row for row in runlog.rows(parent) if row["images"] <= 256]
    assert runlog.rows(run.directory)[: len(inherited)] == inherited
    assert runlog.rows(run.directory)[-1]["images"] == 512
    pictures = [name for name in before if name.endswith(".png") and Path(name).stem.isdecimal()]
    earlier = [name for name in pictures if int(Path(name).stem) <= 256]
    assert earlier
    assert all((run.directory / name).read_bytes() == before[name] for name in earlier)
    assert json.loads((run.directory / "parent.json").read_text("utf-8")) == {
        "run": str(parent.absolute()),
        "images": 256,
        "changes": ["optimizer.generator.lr was 0.001, is 0.0001"],
    }
    assert mulligan.load(run.directory).recipe.optimizer.generator.lr == 1e-4


def test_what_happens_after_is_another_course(parent: Path, tmp_path: Path) -> None:
    changed = mulligan.retry(
        parent, from_images=256, overrides=("objective.d_scale=0.5",), out=tmp_path / "a"
    )
    weights = [checkpoint.read(checkpoint.find(run)).part("generator") for run in (parent, changed.directory)]
    assert not same(*weights)
    again = mulligan.retry(parent, from_images=256, overrides=("objective.d_scale=0.5",), out=tmp_path / "b")
    repeated = checkpoint.read(checkpoint.find(again.directory)).part("generator")
    assert same(weights[1], repeated)


def test_other_networks_begin_at_the_start(parent: Path, tmp_path: Path) -> None:
    run = mulligan.retry(parent, from_images=256, overrides=("generator.hidden=[9]",), out=tmp_path / "new")
    assert checkpoint.history(run.directory)[0].name == "000000000000.safetensors"
    assert json.loads((run.directory / "parent.json").read_text("utf-8"))["images"] == 0
    assert runlog.rows(run.directory)[0]["images"] <= 64


def test_a_second_shot_can_be_resumed_and_retried(parent: Path, tmp_path: Path) -> None:
    change = ("optimizer.generator.lr=1e-4",)
    run = mulligan.retry(parent, from_images=256, overrides=change, out=tmp_path / "new", images=384)
    assert mulligan.resume(run.directory, images=512).images == 512
    third = mulligan.retry(
        run.directory, from_images=300, overrides=("optimizer.generator.lr=1e-5",), out=tmp_path / "third"
    )
    assert third.images == 384  # the budget that its checkpoint knew


def test_without_a_moment_it_goes_back_to_the_best(tmp_path: Path) -> None:
    digits = Dataset("digits", read_digits().images[:300])
    cards = (*TINY, "card.every=128", "card.n=256")
    run = mulligan.train("mlp-relu", data=digits, images=384, out=tmp_path / "run", overrides=cards)
    best = checkpoint.read(run.directory / "checkpoints" / checkpoint.BEST).meta.images
    new = mulligan.retry(
        run.directory,
        overrides=("optimizer.generator.lr=1e-4",),
        data=digits,
        out=tmp_path / "new",
        images=640,
    )
    assert json.loads((new.directory / "parent.json").read_text("utf-8"))["images"] == best


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "256"], "nothing is wrong with it: --set KEY=VALUE says what to change"),
        (["--from", "256", "--set", "optimizer.generator.lr=1e-3"], "nothing changes"),
        (["--set", "optimizer.generator.lr=1e-4"], "--from IMAGES"),
        (["--from", "256", "--set", "optimizer.generator.ir=1e-4"], "optimizer.generator.ir"),
        (["--from", "512", "--set", "optimizer.generator.lr=1e-4"], "--images N"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    arguments: list[str], said: str, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(parent)
    assert command("retry", str(parent), "--out", str(tmp_path / "new"), *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert contents(parent) == before


def test_the_command_line_says_where_it_goes_on(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = ["--set", "optimizer.generator.lr=1e-4"]
    assert command("retry", str(parent), "--from", "300", *change, "--out", str(tmp_path / "new")) == 0
    said = capsys.readouterr().out
    assert "A second shot from 256 images" in said
    assert "optimizer.generator.lr was 0.001, is 0.0001" in said


def test_runs_are_listed_with_what_they_come_from(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(parent, folder / "first")
    change = ("optimizer.generator.lr=1e-4",)
    mulligan.retry(folder / "first", from_images=256, overrides=change, out=folder / "second")
    for name, file in (("third", "recipe.toml"), ("fourth", "log.jsonl"), ("fifth", "parent.json")):
        shutil.copytree(folder / "second", folder / name)
        (folder / name / file).write_text("damaged\n")
    (folder / "no run").mkdir()
    capsys.readouterr()
    assert command("runs", str(folder)) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    said = {line.split()[0]: line for line in lines}
    assert head.split()[:2] == ["run", "recipe"]
    assert said.keys() == {"first", "second", "third", "fourth", "fifth"}
    assert "mlp-relu" in said["first"]
    assert "512" in said["first"]
    assert "first at 256: optimizer.generator.lr was 0.001, is 0.0001" in said["second"]
    assert all("cannot be read" in said[name] for name in ("third", "fourth", "fifth"))


@pytest.mark.parametrize("folder", ["missing", "."])
def test_no_runs_is_an_error(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("runs", folder) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_two_runs_side_by_side(parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = mulligan.retry(
        parent,
        from_images=256,
        overrides=("optimizer.generator.lr=1e-4", "card.every=128", "card.n=256"),
        out=tmp_path / "new",
    )
    capsys.readouterr()
    picture = tmp_path / "new folder" / "compared.png"
    assert command("compare", str(parent), str(run.directory), "--out", str(picture)) == 0
    said = capsys.readouterr().out
    assert "optimizer.generator.lr was 0.001, is 0.0001" in said
    assert re.search(r"Fréchet distance at 384 +– +[\d.]+", said)
    assert f"new is a second shot of {parent} at 256 images" in said
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 500
    assert command("compare", str(parent), str(parent)) == 0
    assert "their recipes are the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["PARENT", "missing"], ["PARENT", "."], ["PARENT", "PARENT", "--out", "x.pdf"]]
)
def test_what_cannot_be_compared(
    arguments: list[str],
    parent: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("compare", *(str(parent) if word == "PARENT" else word for word in arguments)) == 2
    assert capsys.readouterr().err.count("\n") == 1
