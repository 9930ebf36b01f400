from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mulligan import recipe, state
from mulligan.data.dataset import Dataset
from mulligan.ema import EMA


def constant(value: float) -> nn.Module:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


@given(
    batches=st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    start=st.floats(-10, 10),
    goal=st.floats(-10, 10),
)
def test_after_a_half_life_half_the_way_is_left(batches: list[int], start: float, goal: float) -> None:
    ema, trained = EMA(constant(start), half_life=sum(batches)), constant(goal)
    for images in batches:
        ema.update(trained, ema.weight(images))
    for parameter in ema.generator.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, (start + goal) / 2))


def test_a_half_life_is_forgotten_again_and_again() -> None:
    ema, trained = EMA(constant(1.0), half_life=640), constant(0.0)
    for halvings in range(1, 6):
        for _ in range(10):
            ema.update(trained, ema.weight(64))
        weight = next(ema.generator.parameters())
        torch.testing.assert_close(weight, torch.full_like(weight, 0.5**halvings))


def test_buffers_are_copied_and_the_trained_network_is_left_alone() -> None:
    trained = constant(1.0)
    ema = EMA(trained, half_life=1000)
    trained(torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    before = copy.deepcopy(trained.state_dict())
    ema.update(trained, ema.weight(8))
    buffers = dict(ema.generator.named_buffers())
    assert int(buffers["1.num_batches_tracked"]) == 1
    for name, buffer in trained.named_buffers():
        assert torch.equal(buffers[name], buffer)
        assert buffers[name] is not buffer
    for name, value in trained.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(parameter.requires_grad for parameter in ema.generator.parameters())
    assert all(parameter.requires_grad for parameter in trained.parameters())


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("random", np.random.default_rng(0).integers(0, 256, (256, 1, 8, 8), dtype=np.uint8))


def test_it_is_off_where_the_half_life_is_zero(dataset: Dataset) -> None:
    run = state.begin(recipe.read("mlp-relu"), dataset)
    assert run.recipe.ema.half_life == 0
    assert run.ema is None
    assert not any(name.startswith("ema.") for name in run.tensors())


def test_pictures_are_made_with_the_average(dataset: Dataset) -> None:
    """One update of 128 images at a half-life of 128: the sampler's weights lie half way."""
    run = state.begin(recipe.read("mlp-relu", ["ema.half_life=128"]), dataset)
    first = copy.deepcopy(run.gan.generator.state_dict())
    run.advance()
    moved = run.gan.generator.state_dict()
    for name, value in run.sampler().generator.state_dict().items():
        torch.testing.assert_close(value, (first[name] + moved[name]) / 2)
        assert not torch.equal(moved[name], first[name])
