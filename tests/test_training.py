"""What a run leaves behind, when it ends, and what must not change its bits."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import mulligan
from mulligan import build, checkpoint, files, loop, objectives, recipe, runlog, training
from mulligan.data import Dataset, read_digits
from mulligan.errors import RunError, UserError
from mulligan.objectives import Objective
from support import RECIPES, command, final, logged_steps, pictures, same, small, timeless_log, trained


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return read_digits()


def grey(n: int, side: int = 16, *, named: bool = False) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    return Dataset("grey", images, has_validation_head=named)


# The run directory


@pytest.mark.parametrize("name", RECIPES)
def test_the_run_directory(name: str, digits: Dataset, tmp_path: Path) -> None:
    run = mulligan.train(name, data=digits, steps=3, seed=4, out=tmp_path / "run", overrides=small(name))
    assert (run.steps, run.images, run.interrupted) == (3, 3 * recipe.read(name).data.batch, False)

    files = [
        path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*") if path.is_file()
    ]
    shapes = (
        r"recipe\.toml|log\.jsonl|environment\.json|report\.html|\.lock|timelapse\.webp|grid\.png|samples/\d{12}\.png|"
        r"samples/timelapse/\d{12}\.png|checkpoints/\d{12}\.safetensors"
    )
    assert [file for file in files if not re.fullmatch(shapes, file)] == []
    always = (
        *("recipe.toml", "log.jsonl", "environment.json", ".lock", "timelapse.webp", "grid.png"),
        "report.html",
    )
    assert set(always) <= set(files)
    last = f"{run.images:012d}"
    assert {f"samples/{last}.png", f"samples/timelapse/{last}.png"} <= set(files)
    checkpoints = [file for file in sorted(files) if file.startswith("checkpoints/")]
    assert checkpoints == [f"checkpoints/{0:012d}.safetensors", f"checkpoints/{last}.safetensors"]

    resolved = recipe.read(run.directory / "recipe.toml")
    assert resolved == training.prepare(name, data=digits, steps=3, overrides=small(name)).recipe
    assert resolved.budget.steps == 3
    assert recipe.from_dict(checkpoint.read(checkpoint.find(run.directory)).meta.recipe) == resolved

    environment = json.loads((run.directory / "environment.json").read_text())
    assert environment["mulligan"] == mulligan.__version__
    assert environment["torch"] == torch.__version__
    assert environment["seed"] == 4
    assert environment["data"]["sha256"] == digits.sha256
    assert environment["data"]["images"] == 1797
    assert {"python", "packages", "platform", "device", "cpu", "cores"} <= environment.keys()

    for path in (*run.directory.rglob("*.png"), run.directory / "timelapse.webp"):
        with Image.open(path) as picture:
            picture.verify()
    with Image.open(run.directory / "timelapse.webp") as movie:
        assert getattr(movie, "n_frames", 1) == len(list((run.directory / "samples/timelapse").iterdir()))


def test_a_reader_can_train_from_recipe_toml(digits: Dataset, tmp_path: Path) -> None:
    first = mulligan.train("mlp-relu", data=digits, steps=3, out=tmp_path / "a", overrides=small("mlp-relu"))
    again = mulligan.train(first.directory / "recipe.toml", data=digits, out=tmp_path / "b")
    assert same(final(first.directory), final(again.directory))


# Bits


@pytest.mark.parametrize("name", ["mlp-tanh", "mlp-batchnorm", "dcgan-softmax"])
def test_a_seed_is_a_run_to_the_last_bit(name: str, digits: Dataset, tmp_path: Path) -> None:
    directories = [
        mulligan.train(
            name,
            data=digits,
            steps=4,
            seed=seed,
            out=tmp_path / label,
            overrides=(*small(name), "log.every=1"),
        ).directory
        for label, seed in (("one", 1), ("same", 1), ("other", 2))
    ]
    torch.manual_seed(99)  # what the caller did to the global state is of no importance
    one, again, other = directories
    assert same(final(one), final(again))
    assert timeless_log(one) == timeless_log(again)
    assert logged_steps(one) == [1, 2, 3, 4]
    assert pictures(one) == pictures(again)
    assert not same(trained(one), trained(other))
    assert timeless_log(one) != timeless_log(other)
    assert pictures(one)["grid.png"] != pictures(other)["grid.png"]


def test_the_global_random_state_is_neither_used_nor_changed(digits: Dataset, tmp_path: Path) -> None:
    directories = []
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        run = mulligan.train("mlp-relu", data=digits, steps=2, out=tmp_path / str(number))
        assert torch.equal(torch.get_rng_state(), before)
        directories.append(run.directory)
    assert same(final(directories[0]), final(directories[1]))


@pytest.mark.parametrize("name", ["mlp-relu", "mlp-tanh", "mlp-batchnorm"])
def test_watching_more_closely_changes_no_bit(name: str, digits: Dataset, tmp_path: Path) -> None:
    batch = recipe.read(name).data.batch
    watched = [
        ("samples.every=0", "log.every=0", "checkpoint.every=1_000_000"),
        (f"samples.every={batch}", f"log.every={2 * batch}", f"checkpoint.every={batch}"),
        (
            "samples.grid=[1, 7]",
            "samples.latents=fixed",
            f"log.every={batch}",
            f"checkpoint.every={3 * batch}",
        ),
    ]
    if name == "mlp-relu":  # on fresh batches, from a stream of their own
        watched.append((f"log.every={batch}", "log.losses=fresh"))
    runs = []
    for number, overrides in enumerate(watched):
        run = mulligan.train(
            name, data=digits, steps=9, out=tmp_path / str(number), overrides=(*small(name), *overrides)
        )
        assert run.steps == 9
        runs.append(run.directory)
    pictures_drawn = {len(list((run / "samples").glob("*.png"))) for run in runs[:2]}
    assert pictures_drawn == {1, 9}
    moments = [[int(path.stem) // batch for path in checkpoint.history(run)] for run in runs[:2]]
    assert moments == [[0, 9], list(range(10))]
    for other in runs[1:]:
        assert same(trained(runs[0]), trained(other))


def test_averaged_weights_are_drawn_with_and_leave_training_alone(digits: Dataset, tmp_path: Path) -> None:
    plain = mulligan.train("mlp-relu", data=digits, steps=12, out=tmp_path / "plain").directory
    averaged = mulligan.train(
        "mlp-relu", data=digits, steps=12, out=tmp_path / "ema", overrides=("ema.half_life=2_000",)
    ).directory
    assert same(trained(plain), trained(averaged))
    assert not (mulligan.load(plain).sample(16) == mulligan.load(averaged).sample(16)).all()
    assert pictures(plain)["grid.png"] != pictures(averaged)["grid.png"]
    saved = checkpoint.read(checkpoint.find(averaged))
    loaded = mulligan.load(averaged).sampler.generator.state_dict()
    assert same(dict(loaded), saved.part("ema"))
    assert not same(dict(loaded), saved.part("generator"))


# Budgets


def test_steps_are_exact(digits: Dataset, tmp_path: Path) -> None:
    overrides = (*small("mlp-relu"), "step.d_steps=2")
    run = mulligan.train("mlp-relu", data=digits, steps=5, out=tmp_path / "run", overrides=overrides)
    assert (run.steps, run.images) == (5, 5 * 2 * 128)


@pytest.mark.parametrize(("images", "steps"), [(1, 1), (128, 1), (129, 2), (300, 3)])
def test_images_end_a_run_at_the_first_step_at_or_beyond(
    images: int, steps: int, digits: Dataset, tmp_path: Path
) -> None:
    run = mulligan.train(
        "mlp-relu", data=digits, images=images, out=tmp_path / "run", overrides=small("mlp-relu")
    )
    assert (run.steps, run.images) == (steps, 128 * steps)
    assert mulligan.load(run.directory).about.images == run.images


def test_the_sooner_of_two_budgets_ends_a_run(digits: Dataset, tmp_path: Path) -> None:
    cut = mulligan.train("mlp-relu", data=digits, images=10_000, steps=3, out=tmp_path / "a")
    assert cut.steps == 3
    cut = mulligan.train("mlp-relu", data=digits, images=256, steps=30, out=tmp_path / "b")
    assert cut.steps == 2


def test_minutes_cut_a_run_off(tmp_path: Path) -> None:
    run = mulligan.train(
        "mlp-relu", data=grey(200), minutes=0.002, images=10**9, out=tmp_path / "run", overrides=small("mlp")
    )
    assert run.reason == "the time is up"
    assert 0.12 <= run.seconds < 10
    assert run.images == 128 * run.steps
    assert mulligan.load(run.directory).about.steps == run.steps


# The tutorials' moments


@pytest.mark.parametrize(
    ("name", "steps", "printed"),
    [
        ("mlp-relu", 2002, [1, 1001, 2001]),
        ("mlp-smooth", 1002, [1, 1001]),
        ("dcgan-softmax", 201, [1, 100, 200]),
    ],
)
def test_a_tutorial_prints_at_its_own_steps(
    name: str, steps: int, printed: list[int], tmp_path: Path
) -> None:
    overrides = (*small(name), "latent.size=4")
    run = mulligan.train(name, data=grey(200), steps=steps, out=tmp_path / "run", overrides=overrides)
    assert logged_steps(run.directory) == printed
    drawn = sorted(int(path.stem) for path in (run.directory / "samples").glob("*.png"))
    batch = recipe.read(name).data.batch
    moments = [] if name == "dcgan-softmax" else printed
    assert drawn == [batch * step for step in (*moments, steps)]


def test_the_softmax_tutorial_ends_on_four_rows_of_ten(digits: Dataset, tmp_path: Path) -> None:
    overrides = small("dcgan-softmax")
    run = mulligan.train("dcgan-softmax", data=digits, steps=2, out=tmp_path / "run", overrides=overrides)
    (path,) = (run.directory / "samples").glob("*.png")
    with Image.open(path) as picture:
        across, down = picture.size
    assert round(across / 10) == pytest.approx(round(down / 4), abs=2)


def test_the_tanh_tutorial_stops_by_its_rule(digits: Dataset, tmp_path: Path) -> None:
    run = mulligan.train("mlp-tanh", data=digits, out=tmp_path / "run")
    rows = [row for row in runlog.rows(run.directory) if "d_loss" in row]
    assert 10 <= run.steps < 50
    assert "D(G(z))" in run.reason
    assert [row["step"] for row in rows] == list(range(1, run.steps + 1))
    assert 0.45 < rows[-1]["d_of_fake"] < 0.55
    assert not any(0.45 < row["d_of_fake"] < 0.55 for row in rows[9:-1])
    assert all(0 <= row["largest_pixel"] <= 255 for row in rows)
    assert len(list((run.directory / "samples").glob("*.png"))) == run.steps  # one image a step


@pytest.mark.mnist
def test_the_tanh_tutorial_stops_by_its_rule_on_mnist(tmp_path: Path) -> None:
    run = mulligan.train("mlp-tanh", data="mnist", out=tmp_path / "run")
    assert 10 <= run.steps < 50
    rows = [row for row in runlog.rows(run.directory) if "d_loss" in row]
    assert 0.45 < rows[-1]["d_of_fake"] < 0.55
    environment = json.loads((run.directory / "environment.json").read_text())
    assert environment["data"]["images"] == 55_000


def test_no_stop_runs_to_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    small_tanh = list(itertools.chain.from_iterable(("--set", key) for key in small("mlp-tanh")))
    assert command("train", "mlp-tanh", "--data", "digits", "--no-stop", "--out", out, *small_tanh) == 0
    assert "the budget is spent: 50 steps" in capsys.readouterr().out
    assert logged_steps(out) == list(range(1, 51))
    assert recipe.read(out / "recipe.toml").stop.kind == "none"


def test_a_run_far_beyond_its_tutorial_draws_few_pictures(tmp_path: Path) -> None:
    overrides = (*small("mlp-tanh"), "latent.size=4", "stop={kind='none'}")
    run = mulligan.train("mlp-tanh", data=grey(200), steps=1000, out=tmp_path / "run", overrides=overrides)
    drawn = sorted(int(path.stem) // 128 for path in (run.directory / "samples").glob("*.png"))
    doublings = 5  # 50 · 2^5 is the first beyond 1,000
    assert 100 < len(drawn) <= 50 + 25 * doublings
    assert drawn[:50] == list(range(1, 51))
    assert drawn[-1] == 1000
    assert len(list((run.directory / "samples/timelapse").iterdir())) <= loop.FRAMES + 2


# Data


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_epochs_last_batch_may_be_short(epochs: int, tmp_path: Path) -> None:
    run = mulligan.train(
        "mlp-batchnorm",
        data=grey(1000),
        images=1000 * epochs,
        out=tmp_path / "run",
        overrides=small("mlp-batchnorm"),
    )
    assert (run.steps, run.images) == (16 * epochs, 1000 * epochs)


def test_other_recipes_carry_over_into_the_next_epoch(tmp_path: Path) -> None:
    run = mulligan.train("mlp-smooth", data=grey(200), images=400, out=tmp_path / "r", overrides=small("mlp"))
    assert (run.steps, run.images) == (4, 512)


@pytest.mark.parametrize(
    ("name", "named", "left"),
    [
        ("mlp-relu", True, 200),
        ("mlp-tanh", True, 200),
        ("mlp-smooth", True, 5200),
        ("mlp-relu", False, 5200),
    ],
)
def test_only_named_sets_hold_out_their_head(name: str, named: bool, left: int) -> None:
    dataset = grey(5200, named=named)
    plan = training.prepare(name, data=dataset, overrides=small(name))
    assert plan.state.about_data.images == left
    assert (plan.state.stream.images.numpy() == dataset.images[-left:]).all()


@pytest.mark.mnist
def test_real_mnist_holds_out_its_head_but_a_folder_of_it_does_not(tmp_path: Path) -> None:
    from mulligan.data import locate

    assert training.prepare("mlp-relu", data="mnist").state.about_data.images == 55_000
    assert training.prepare("mlp-batchnorm", data="mnist").state.about_data.images == 60_000
    place = locate("mnist")
    assert place is not None
    folder = shutil.copytree(place, tmp_path / "mine")
    assert training.prepare("mlp-relu", data=str(folder)).state.about_data.images == 60_000


@pytest.mark.parametrize("overrides", [("log.every=64", "log.losses=fresh"), ("stop={kind='d-of-fake'}",)])
def test_measuring_goes_together_with_batchnorm(overrides: tuple[str, ...], tmp_path: Path) -> None:
    little = small("mlp-batchnorm")
    plain = mulligan.train(
        "mlp-batchnorm", data=grey(200), steps=11, out=tmp_path / "plain", overrides=little
    )
    run = mulligan.train(
        "mlp-batchnorm", data=grey(200), steps=11, out=tmp_path / "run", overrides=(*little, *overrides)
    )
    assert run.steps >= 10
    if run.steps == plain.steps:
        assert same(trained(run.directory), trained(plain.directory))  # running statistics, too


@pytest.mark.parametrize(("images", "overrides"), [(65, ()), (200, ("data.batch=1",))])
def test_a_batch_of_one_image_never_surprises_batchnorm(
    images: int, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    """An epoch of 65 images ends on a batch of one: either it trains, or it is refused beforehand."""
    overrides = (*small("mlp-batchnorm"), *overrides)
    out = tmp_path / "r"
    try:
        run = mulligan.train("mlp-batchnorm", data=grey(images), steps=3, out=out, overrides=overrides)
    except UserError:
        refused = True
    else:
        refused = False
        assert run.steps == 3
    assert out.exists() != refused


# Failing


def poisoned(network: str, at: int) -> Callable[..., Objective]:
    """The non-saturating objective, but a network's loss is NaN at one update."""
    calls = itertools.count(1)

    def poison(values: Tensor) -> Tensor:
        return values * float("nan") if next(calls) == at else values

    def make() -> Objective:
        sound = objectives.non_saturating()

        def d(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
            real_terms, fake_terms = sound.d(real, fake)
            return poison(real_terms), fake_terms

        def g(fake: Tensor, real: Tensor | None) -> Tensor:
            return poison(sound.g(fake, real))

        return dataclasses.replace(sound, d=d) if network == "D" else dataclasses.replace(sound, g=g)

    return make


@pytest.mark.parametrize("network", ["D", "G"])
def test_a_loss_that_is_not_finite_ends_the_run_by_name(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(build.OBJECTIVES, "non-saturating", poisoned(network, at=7))
    out = tmp_path / "run"
    sets = ("--set", "checkpoint.every=256", "--set", "log.examinations=0")
    assert command("train", "mlp-relu", "--data", "digits", "--steps", 20, "--out", out, *sets) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(rf"mulligan: step 7: {network}'s loss is not finite.*\n", error)
    assert [int(path.stem) // 128 for path in checkpoint.history(out)] == [0, 2, 4, 6]
    model = mulligan.load(out)
    assert model.about.steps == 6
    assert all(bool(torch.isfinite(tensor).all()) for tensor in final(out).values())
    assert model.sample(1).shape == (1, 1, 28, 28)


def test_weights_that_are_not_finite_never_reach_a_checkpoint(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count(1)

    def make() -> Objective:
        sound = objectives.non_saturating()

        def g(fake: Tensor, real: Tensor | None) -> Tensor:
            values = sound.g(fake, real)  # at the third update its value is right and its gradient NaN
            return values + torch.sqrt(0 * values) if next(calls) == 3 else values

        return dataclasses.replace(sound, g=g)

    monkeypatch.setitem(build.OBJECTIVES, "non-saturating", make)
    out = tmp_path / "run"
    with pytest.raises(RunError, match=r"step [34]"):
        mulligan.train(
            "mlp-relu",
            data=digits,
            steps=3,
            out=out,
            overrides=("checkpoint.every=128", "log.examinations=0"),
        )
    assert all(bool(torch.isfinite(tensor).all()) for tensor in final(out).values())


def test_the_function_raises_the_same_error(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(build.OBJECTIVES, "non-saturating", poisoned("D", at=2))
    with pytest.raises(RunError, match="step 2: D's loss") as failed:
        mulligan.train(
            "mlp-relu", data=digits, steps=5, out=tmp_path / "run", overrides=("log.examinations=0",)
        )
    assert failed.value.run == tmp_path / "run"


def test_a_disk_that_takes_no_more_ends_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, calls = files.write_atomically, itertools.count(1)

    def full(path: Path, data: bytes) -> None:
        if next(calls) > 3:
            raise OSError(28, "No space left on device")
        sound(path, data)

    monkeypatch.setattr("mulligan.archive.write_atomically", full)
    out = tmp_path / "run"
    code = command(
        "train", "mlp-relu", "--data", "digits", "--steps", 9, "--out", out, "--set", "checkpoint.every=128"
    )
    assert code == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"mulligan: .*No space left on device.*\n", error)
    assert f"`mulligan resume {out}`" in error
    assert [int(path.stem) // 128 for path in checkpoint.history(out)] == [0, 1, 2]
    assert mulligan.load(out).about.steps == 2
