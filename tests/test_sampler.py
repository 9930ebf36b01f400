"""Image i of a seed is one image: alone, among ten thousand, and in another process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mulligan
from mulligan import recipe, state
from mulligan.data import Dataset, read_digits
from support import RECIPES, same

MANY = dict.fromkeys(RECIPES, 10_000)


@pytest.fixture(scope="module")
def few() -> Dataset:
    return Dataset("few", read_digits().images[:300])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, few: Dataset) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: mulligan.train(name, data=few, steps=2, out=folder / name).directory for name in RECIPES}


def test_an_image_is_the_same_in_every_draw(runs: dict[str, Path]) -> None:
    drawn: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        model = mulligan.load(run)
        alone, some, many = (model.sample(n, seed=7) for n in (1, 257, MANY[name]))
        assert many.shape == (MANY[name], 1, 28, 28)
        assert many.dtype == np.uint8
        assert (alone[0] == many[0]).all(), name
        assert (some == many[:257]).all(), name
        assert (model.sample(300, seed=7)[255:] == many[255:300]).all(), name
        drawn[name] = {str(i): hashlib.sha256(many[i].tobytes()).hexdigest() for i in (0, 255, 256, -1)}

    script = """if True:
        import hashlib, json, sys
        import mulligan

        drawn = {}
        for name, (run, n) in json.loads(sys.argv[1]).items():
            images = {}
            model = mulligan.load(run)
            for i in (0, 255, 256):
                images[i] = model.sample(i + 1, seed=7)[i]
            images[-1] = list(model.chunks(n, seed=7))[-1][-1]
            drawn[name] = {str(i): hashlib.sha256(image.tobytes()).hexdigest() for i, image in images.items()}
        print(json.dumps(drawn))
    """
    paths = json.dumps({name: (str(run), MANY[name]) for name, run in runs.items()})
    fresh = subprocess.run([sys.executable, "-c", script, paths], check=True, capture_output=True, text=True)
    assert json.loads(fresh.stdout) == drawn


@pytest.mark.parametrize("name", RECIPES)
def test_seeds_differ_and_images_of_a_seed_differ(name: str, runs: dict[str, Path]) -> None:
    model = mulligan.load(runs[name])
    images = model.sample(40, seed=0)
    assert images.shape == (40, 1, 28, 28)
    assert images.dtype == np.uint8
    assert not (images == model.sample(40, seed=1)).all()
    assert len({image.tobytes() for image in images}) == 40
    assert [len(chunk) for chunk in model.chunks(600)] == [256, 256, 88]


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_loaded_draws_as_what_was_trained(name: str, few: Dataset, runs: dict[str, Path]) -> None:
    moved = state.begin(recipe.read(name), few)
    moved.advance()
    moved.advance()
    assert (moved.sampler().sample(20, seed=5) == mulligan.load(runs[name]).sample(20, seed=5)).all()


@pytest.mark.parametrize("n", [0, -1])
def test_no_images_are_refused(n: int, runs: dict[str, Path]) -> None:
    model = mulligan.load(runs["mlp-relu"])
    for draw in (model.sample, model.chunks, model.interpolate):
        with pytest.raises(mulligan.UserError, match="at least 1"):
            draw(n)


def test_recalibration_touches_neither_the_generator_nor_the_random_state(few: Dataset) -> None:
    run = state.begin(recipe.read("mlp-batchnorm"), few)
    for _ in range(2):
        run.advance()
    before = {name: tensor.clone() for name, tensor in run.gan.generator.state_dict().items()}
    random_state = torch.get_rng_state()
    ready = run.sampler().generator
    assert same(before, dict(run.gan.generator.state_dict()))
    assert run.gan.generator.training
    assert all(parameter.requires_grad for parameter in run.gan.generator.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)

    measured = ready.state_dict()
    changed = {name for name in before if not torch.equal(before[name], measured[name])}
    assert {name.rpartition(".")[2] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert not ready.training
    assert same(dict(measured), dict(run.sampler().generator.state_dict()))  # and always the same


def test_recalibrated_statistics_are_those_of_the_latents_law(few: Dataset) -> None:
    run = state.begin(recipe.read("mlp-batchnorm"), few)
    run.advance()
    ready = run.sampler().generator
    norms = [m for m in ready.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(norms) == 3
    seen: list[torch.Tensor] = []
    hook = norms[0].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.no_grad():
        ready(torch.randn(20_000, 100, generator=torch.Generator().manual_seed(1)))
    hook.remove()
    mean, variance = norms[0].running_mean, norms[0].running_var
    assert mean is not None
    assert variance is not None
    spread = seen[0].std(0)
    assert ((seen[0].mean(0) - mean).abs() < 0.15 * spread).all()
    assert (variance / spread**2 - 1).abs().max() < 0.2


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("between", [1, 5])
def test_a_walk_visits_the_seeds_images(name: str, between: int, runs: dict[str, Path]) -> None:
    model = mulligan.load(runs[name])
    frames = model.interpolate(between, seed=3)
    assert frames.shape == (8 * between, 1, 28, 28)
    assert frames.dtype == np.uint8
    assert (frames[::between] == model.sample(8, seed=3)).all()


def test_a_long_walk_loops_without_a_jump(runs: dict[str, Path]) -> None:
    frames = mulligan.load(runs["mlp-relu"]).interpolate(40, seed=3).astype(float)
    assert len(frames) == 320  # more than a chunk
    moved = np.abs(frames - np.roll(frames, 1, axis=0)).mean((1, 2, 3))
    assert moved.max() < 0.25 * np.abs(frames[0] - frames[40]).mean()
    assert moved.min() > 0
