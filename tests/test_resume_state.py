"""A checkpoint holds all that a run needs to go on bit for bit; anything else is refused in one line."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

import mulligan
from mulligan import checkpoint, probes, recipe, runlog, state
from mulligan.data import Dataset, read_digits
from mulligan.errors import UserError
from mulligan.recipe import Recipe
from mulligan.state import State
from support import command, same, small

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mlp-relu": ("mlp-relu", ()),
    "mlp-batchnorm": ("mlp-batchnorm", ()),
    "mlp-tanh": ("mlp-tanh", ()),
    "dcgan-softmax": ("dcgan-softmax", small("dcgan-softmax")),
    "several D steps and an EMA": ("mlp-relu", ("step.d_steps=2", "ema.half_life=500", "step.noise=fresh")),
}


@pytest.fixture(scope="module")
def few() -> Dataset:
    """300 digits: an epoch ends, short or carried over, before and after every resumption below."""
    return Dataset("few", read_digits().images[:300])


def move(run: State, steps: int) -> list[tuple[float, ...]]:
    """Train; return each step's losses, and what the probe measured."""
    seen: list[tuple[float, ...]] = []
    for _ in range(steps):
        update = run.advance()
        seen.append((float(update.d.loss), float(update.g.loss), update.images))
        if run.recipe.log.losses == "fresh":
            seen.append(tuple(probes.fresh_costs(run).values()))
    return seen


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("before", [1, 6])
def test_going_on_from_a_checkpoint_changes_no_bit(
    case: str, before: int, few: Dataset, tmp_path: Path
) -> None:
    name, overrides = CASES[case]
    chosen = recipe.read(name, overrides)
    whole = state.begin(chosen, few, seed=3)
    expected = move(whole, 12)

    interrupted = state.begin(chosen, few, seed=3)
    seen = move(interrupted, before)
    path = checkpoint.write(tmp_path, interrupted.tensors(), interrupted.meta())
    assert path == tmp_path / checkpoint.FOLDER / f"{interrupted.images:012d}.safetensors"
    saved = checkpoint.read(path)
    assert saved.meta == interrupted.meta()
    seed = saved.meta.seed
    again = state.begin(recipe.from_dict(saved.meta.recipe), few, seed=seed)
    again.restore(saved)
    assert (again.images, again.steps) == (interrupted.images, before)
    assert same(again.tensors(), interrupted.tensors())
    seen += move(again, 12 - before)

    assert seen == expected
    assert same(again.tensors(), whole.tensors())
    assert again.meta() == whole.meta()
    images, expected_images = again.sampler().sample(3), whole.sampler().sample(3)
    assert (images == expected_images).all()


def test_short_batches_and_the_probe_were_in_use(few: Dataset) -> None:
    sizes = [step[2] for step in move(state.begin(recipe.read("mlp-batchnorm"), few), 6)]
    assert sizes == [64, 64, 64, 64, 44, 64]
    tanh = state.begin(recipe.read("mlp-tanh"), few)
    at_first = tanh.probe.state()
    move(tanh, 1)
    assert not same(tanh.probe.state(), at_first)


def test_saving_moves_nothing(few: Dataset, tmp_path: Path) -> None:
    chosen = recipe.read("mlp-batchnorm")
    saving, plain = state.begin(chosen, few), state.begin(chosen, few)
    for _ in range(3):
        saving.advance()
        plain.advance()
        checkpoint.write(tmp_path, saving.tensors(), saving.meta())
    assert same(saving.tensors(), plain.tensors())


# Reading what is no checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, few: Dataset) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return mulligan.train("mlp-relu", data=few, steps=1, out=out, overrides=small("mlp-relu")).directory


def header(meta: dict[str, Any] | None) -> bytes:
    return save({"x": torch.zeros(2)}, None if meta is None else {"mulligan": json.dumps(meta)})


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in its header": lambda whole: whole[:100],
    "cut in its tensors": lambda whole: whole[:-1],
    "too long": lambda whole: whole + b"\0",
    "random bytes": lambda _: random.Random(0).randbytes(5000),
    "text": lambda _: b"These are not the weights you are looking for.\n" * 9,
    "somebody else's safetensors": lambda _: header(None),
    "another schema": lambda _: header({"schema": 999}),
    "no schema": lambda _: header({"steps": 3}),
    "a schema and nothing else": lambda _: header({"schema": checkpoint.SCHEMA}),
    "metadata that is not JSON": lambda _: save({"x": torch.zeros(1)}, {"mulligan": "{"}),
    "metadata that is a list": lambda _: save({"x": torch.zeros(1)}, {"mulligan": "[1]"}),
    "a pickle": lambda _: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94.",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    fault: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(BROKEN[fault](checkpoint.find(run).read_bytes()))
    with pytest.raises(UserError) as error:
        mulligan.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert command("generate", path, "--out", tmp_path / "x.png") == 2
    assert capsys.readouterr().err == f"mulligan: {error.value}\n"
    assert not (tmp_path / "x.png").exists()


def test_another_schema_is_called_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    path.write_bytes(header({"schema": 999}))
    with pytest.raises(UserError, match=f"schema 999, expected {checkpoint.SCHEMA}"):
        checkpoint.read(path)


def test_a_directory_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        checkpoint.read(tmp_path)
    with pytest.raises(UserError, match="no checkpoint here"):
        mulligan.load(tmp_path)
    with pytest.raises(UserError, match="no such run directory or checkpoint"):
        mulligan.load(tmp_path / "nothing")


@given(st.data())
def test_a_checkpoint_cut_anywhere_is_refused(run: Path, data: st.DataObject) -> None:
    whole = checkpoint.find(run).read_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(whole[:length])
        file.flush()
        with pytest.raises(UserError):
            checkpoint.read(Path(file.name))


def test_weights_that_do_not_fit_the_recipe_are_refused(run: Path, tmp_path: Path) -> None:
    saved = checkpoint.read(checkpoint.find(run))
    tensors: dict[str, Tensor] = {**saved.tensors, "generator.layers.0.weight": torch.zeros(3, 3)}
    path = checkpoint.write(tmp_path, tensors, saved.meta)
    with pytest.raises(UserError, match="does not fit its own recipe"):
        mulligan.load(path)


def test_only_safetensors_and_json_are_read(run: Path) -> None:
    """The header says it all in JSON: a checkpoint can be opened without Mulligan."""
    raw = checkpoint.find(run).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    meta = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["mulligan"])
    assert meta["schema"] == checkpoint.SCHEMA
    assert (meta["steps"], meta["images"], meta["seed"]) == (1, 128, 0)
    assert isinstance(recipe.from_dict(meta["recipe"]), Recipe)


# Thinning


def fake_history(folder: Path, images: list[int]) -> None:
    (folder / checkpoint.FOLDER).mkdir()
    for count in images:
        (folder / checkpoint.FOLDER / f"{count:012d}.safetensors").touch()


def counts(folder: Path) -> list[int]:
    return [int(path.stem) for path in checkpoint.history(folder)]


@given(st.sets(st.integers(1, 10**12 - 1), min_size=1, max_size=25), st.integers(2, 12))
def test_thinning_keeps_few_and_both_ends(images: set[int], keep: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        fake_history(Path(name), sorted(images))
        checkpoint.thin(Path(name), keep)
        left = counts(Path(name))
        assert len(left) == min(keep, len(images))
        assert set(left) <= images
        assert (left[0], left[-1]) == (min(images), max(images))


@given(st.integers(1, 60), st.integers(4, 12), st.integers(1, 1_280_000))
def test_a_history_thinned_as_it_grows_stays_even(saves: int, keep: int, every: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        fake_history(Path(name), [])
        for i in range(1, saves + 1):
            (Path(name) / checkpoint.FOLDER / f"{i * every:012d}.safetensors").touch()
            checkpoint.thin(Path(name), keep)
            left = counts(Path(name))
            assert left[-1] == i * every
            assert len(left) == min(i, keep)
        gaps = [b - a for a, b in pairwise(left)]
        assert max(gaps, default=0) <= 2 * max(every, saves * every / (keep - 1))


def test_thinning_leaves_other_files_alone(tmp_path: Path) -> None:
    fake_history(tmp_path, [1, 2, 3, 4])
    (tmp_path / checkpoint.FOLDER / "mine.safetensors").touch()
    checkpoint.thin(tmp_path, 2)
    assert counts(tmp_path) == [1, 4]
    assert (tmp_path / checkpoint.FOLDER / "mine.safetensors").exists()


# What is only said at a pause

JUDGED = (
    *small("mlp-relu"),
    "card.every=320",
    "card.n=256",
    "data.batch=64",
    "samples.every=0",
    "log.every=100000",
)


def judged(run: Path) -> list[int]:
    return [row["images"] for row in runlog.cards(runlog.rows(run))]


def test_a_card_at_a_pause_counts_for_nothing_in_the_run_that_goes_on(few: Dataset, tmp_path: Path) -> None:
    whole, paused = tmp_path / "whole", tmp_path / "paused"
    mulligan.train("mlp-relu", data=few, images=960, out=whole, overrides=JUDGED)
    mulligan.train(
        "mlp-relu", data=few, images=960, out=paused, overrides=JUDGED,
        should_stop=lambda progress: progress.images >= 448,
    )  # fmt: skip
    assert judged(paused) == [320, 448]
    mulligan.resume(paused, data=few)
    assert judged(paused) == judged(whole) == [320, 640, 960]
    ours, theirs = (checkpoint.read(checkpoint.find(run)).meta.scores for run in (paused, whole))
    assert ours == theirs


def test_a_kill_before_the_best_had_its_name_is_made_good(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as context:
        context.setattr(checkpoint, "keep_as_best", lambda _run, _path: None)  # as if killed before it
        mulligan.train("mlp-relu", data=few, images=320, out=run, overrides=JUDGED)
    assert checkpoint.read(checkpoint.find(run)).meta.scores is not None
    best = run / checkpoint.FOLDER / checkpoint.BEST
    assert not best.exists()
    mulligan.resume(run, data=few)
    assert best.read_bytes() == checkpoint.history(run)[-1].read_bytes()
