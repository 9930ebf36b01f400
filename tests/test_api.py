"""Mulligan as a library."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mulligan
from mulligan.data import Dataset, read_digits
from mulligan.recipe import Recipe
from support import final, same, small


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return read_digits()


def test_train_then_load_then_sample(tmp_path: Path) -> None:
    run = mulligan.train("mlp-relu", data="digits", steps=3, out=str(tmp_path / "run"))
    assert run.directory == tmp_path / "run"
    assert (run.steps, run.images, run.interrupted) == (3, 384, False)
    assert run.seconds > 0
    assert run.reason == "the budget is spent"
    model = mulligan.load(str(run.directory))
    assert isinstance(model, mulligan.Model)
    images = model.sample(5, seed=0)
    assert images.shape == (5, *model.image_shape)
    assert images.dtype == np.uint8
    assert (run.sample(5) == images).all()
    assert model.about.seed == 0
    assert model.recipe.name == "mlp-relu"


def test_a_run_goes_to_runs_unless_it_is_told_where(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = mulligan.train("mlp-relu", data=digits, steps=1)
    assert run.directory.parent == Path("runs")
    assert run.directory.is_dir()


def test_a_recipe_object_trains_as_its_name_does(digits: Dataset, tmp_path: Path) -> None:
    from mulligan import recipe

    chosen = recipe.read("mlp-smooth", ("latent.size=7",))
    assert isinstance(chosen, mulligan.Recipe)
    a = mulligan.train(chosen, data=digits, steps=2, out=tmp_path / "a")
    b = mulligan.train("mlp-smooth", data=digits, steps=2, out=tmp_path / "b", overrides=("latent.size=7",))
    assert same(final(a.directory), final(b.directory))
    assert isinstance(a.model().recipe, Recipe)
    assert a.model().recipe.latent.size == 7


def test_overrides_apply_to_a_recipe_object(digits: Dataset, tmp_path: Path) -> None:
    from mulligan import recipe

    chosen = recipe.read("mlp-smooth", ("budget.steps=9",))
    before = chosen.model_dump()
    overrides = ("latent.size=7", "optimizer.generator.lr=5e-4")
    a = mulligan.train(chosen, data=digits, steps=2, out=tmp_path / "a", overrides=overrides)
    b = mulligan.train("mlp-smooth", data=digits, steps=2, out=tmp_path / "b", overrides=overrides)
    assert same(final(a.directory), final(b.directory))
    used = a.model().recipe
    assert (used.latent.size, used.optimizer.generator.lr, used.optimizer.generator.beta1) == (7, 5e-4, 0.9)
    assert chosen.model_dump() == before  # the object itself is left as it was
    for wrong, said in (
        ("latent.sise=3", "latent.sise is not a key"),
        ("data.batch", "path.to.key=value"),
        ("stop={kind='d-of-fake', low=0.6, high=0.5}", "low 0.6 must be below high 0.5"),
    ):
        with pytest.raises(mulligan.UserError, match=said):
            mulligan.train(chosen, data=digits, steps=1, out=tmp_path / "c", overrides=(wrong,))
    assert not (tmp_path / "c").exists()


def test_images_of_ones_own_in_colour(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 3, 16, 20), dtype=np.uint8)
    run = mulligan.train("mlp-relu", data=Dataset("mine", images), steps=2, out=tmp_path / "run")
    assert run.sample(3).shape == (3, 3, 16, 20)


# Watching and stopping


def test_progress_is_told_with_every_row(digits: Dataset, tmp_path: Path) -> None:
    told: list[mulligan.Progress] = []
    mulligan.train(
        "mlp-relu",
        data=digits,
        steps=6,
        out=tmp_path / "run",
        overrides=("log.every=128",),
        on_progress=told.append,
    )
    assert all(isinstance(progress, mulligan.Progress) for progress in told)
    assert {progress.steps for progress in told} == {1, 2, 3, 4, 5, 6}
    for before, after in pairwise(told):
        assert before.steps <= after.steps
        assert before.seconds <= after.seconds
    for progress in told:
        assert progress.images == 128 * progress.steps
        assert progress.budget == 6 * 128
        assert progress.seconds > 0
        assert progress.images_per_second > 0
        assert 0 < progress.d_loss < 100
        assert 0 < progress.g_loss < 100
        assert 0 <= progress.d_real <= 1
        assert 0 <= progress.d_fake <= 1


@pytest.mark.parametrize("k", [1, 7])
def test_should_stop_stops_exactly_there(k: int, digits: Dataset, tmp_path: Path) -> None:
    run = mulligan.train(
        "mlp-relu",
        data=digits,
        steps=20,
        out=tmp_path / "run",
        overrides=small("mlp-relu"),
        should_stop=lambda progress: progress.steps >= k,
    )
    assert run.steps == k
    assert run.reason == "the caller asked to stop"
    assert not run.interrupted
    assert mulligan.load(run.directory).about.steps == k
    assert (run.directory / "grid.png").exists()


def test_being_watched_changes_no_bit(digits: Dataset, tmp_path: Path) -> None:
    plain = mulligan.train("mlp-relu", data=digits, steps=5, out=tmp_path / "a")
    watched = mulligan.train(
        "mlp-relu",
        data=digits,
        steps=5,
        out=tmp_path / "b",
        on_progress=lambda _progress: np.random.random(),
        should_stop=lambda _progress: False,
    )
    assert same(final(plain.directory), final(watched.directory))


def test_an_error_of_the_callers_comes_back_as_it_is(digits: Dataset, tmp_path: Path) -> None:
    class MineError(Exception):
        pass

    def fail(_progress: mulligan.Progress) -> None:
        raise MineError

    with pytest.raises(MineError):
        mulligan.train("mlp-relu", data=digits, steps=2, out=tmp_path / "run", on_progress=fail)


def test_training_works_outside_the_main_thread(digits: Dataset, tmp_path: Path) -> None:
    runs: list[mulligan.Run] = []
    thread = threading.Thread(
        target=lambda: runs.append(mulligan.train("mlp-relu", data=digits, steps=3, out=tmp_path / "thread"))
    )
    thread.start()
    thread.join(60)
    (run,) = runs
    here = mulligan.train("mlp-relu", data=digits, steps=3, out=tmp_path / "here")
    assert same(final(run.directory), final(here.directory))


def test_signal_handlers_are_put_back(digits: Dataset, tmp_path: Path) -> None:
    import signal

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(kind) for kind in kinds]
    seen: list[object] = []
    mulligan.train(
        "mlp-relu",
        data=digits,
        steps=1,
        out=tmp_path / "run",
        on_progress=lambda _progress: seen.extend(signal.getsignal(kind) for kind in kinds),
    )
    assert seen
    assert not set(before) & set(seen)
    assert [signal.getsignal(kind) for kind in kinds] == before


# Errors


def test_errors_are_value_errors_of_one_line(tmp_path: Path) -> None:
    assert issubclass(mulligan.UserError, ValueError)
    assert issubclass(mulligan.RunError, RuntimeError)
    for kind in (mulligan.UserError, mulligan.RunError):
        assert str(kind("mine\n\x1b[31m\0\udcff: 3×4 … 'é'")) == r"mine\n\x1b[31m\x00\udcff: 3×4 … 'é'"
    for recipe, data, overrides in (
        ("mlp-rleu", "digits", ()),
        ("mlp-relu", "digist", ()),
        ("mlp-relu", "digits", ("latent.size=0",)),
        ("mlp-relu", "digits", ("latent.sise=3",)),
        ("mlp-relu", "digits", ("data.batch=5000",)),
        ("mlp-relu", "digits", ("generator.output=tanh", "data.pixels=[-2, 2]")),
    ):
        with pytest.raises(mulligan.UserError) as error:
            mulligan.train(recipe, data=data, steps=1, out=tmp_path / "run", overrides=overrides)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("budget", "amount"), [("steps", 0), ("images", 0), ("images", -5), ("minutes", 0.0), ("minutes", -1.0)]
)
def test_a_budget_of_nothing_is_refused(budget: str, amount: float, digits: Dataset, tmp_path: Path) -> None:
    budgets: dict[str, Any] = {budget: amount}
    with pytest.raises(mulligan.UserError, match=r"budget\."):
        mulligan.train("mlp-relu", data=digits, out=tmp_path / "run", **budgets)
    assert not (tmp_path / "run").exists()


# The package


def test_dir_lists_what_there_is() -> None:
    assert dir(mulligan) == sorted(mulligan.__all__)
    for name in mulligan.__all__:
        assert getattr(mulligan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mulligan.trian  # noqa: B018


def test_importing_is_light_and_changes_nothing() -> None:
    script = """if True:
        import json, random, signal, sys

        kinds = [signal.SIGINT, signal.SIGTERM]
        before = [signal.getsignal(kind) for kind in kinds], random.getstate(), sys.excepthook
        import mulligan
        import mulligan.cli

        listed = dir(mulligan)
        after = [signal.getsignal(kind) for kind in kinds], random.getstate(), sys.excepthook
        heavy = [name for name in ("torch", "numpy", "PIL", "pydantic") if name in sys.modules]
        import torch

        state = torch.get_rng_state()
        threads = torch.get_num_threads(), torch.get_default_dtype()
        mulligan.train, mulligan.load, mulligan.Recipe
        quiet = torch.equal(state, torch.get_rng_state()) and threads == (
            torch.get_num_threads(), torch.get_default_dtype())
        print(json.dumps([before == after, heavy, quiet, "train" in listed]))
    """
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert json.loads(said.stdout) == [True, [], True, True]
