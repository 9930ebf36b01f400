"""Constraints on the discriminator's weights: spectral normalisation and clipping."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from mulligan import build, constraints, recipe
from mulligan.step import GAN

CLASSES, BATCH = 3, 4

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [6, 5]},
    "tutorial-dcgan": {"channels": [3, 2], "dense": 7},
    "dcgan": {"width": 2, "max_width": 6, "norm": "none"},
    "resnet": {"width": 2, "max_width": 6},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def spectral(kind: str, size: int, *, seed: int = 0) -> GAN:
    """A pair whose discriminator is under spectral normalisation and has a projection."""
    chosen = recipe.from_dict(
        {
            "name": "test",
            "generator": {"kind": "mlp", "hidden": [3]},
            "discriminator": {"kind": kind, "spectral_norm": True, **NETWORKS[kind]},
            "condition": {"kind": "projection"},
        }
    )
    return build.gan(chosen, (1, size, size), CLASSES, seed=seed)


def labels() -> Tensor:
    return torch.arange(BATCH) % CLASSES


def spectral_weights(network: nn.Module) -> list[ParametrizationList]:
    return [m for m in network.modules() if isinstance(m, ParametrizationList)]


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


@pytest.mark.parametrize("kind", NETWORKS)
def test_spectral_norm_is_one(kind: str) -> None:
    d = spectral(kind, 28).discriminator
    dense = [m for m in d.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(spectral_weights(d)) == len(dense)
    assert all(largest_singular_value(layer.weight) == pytest.approx(1, abs=0.2) for layer in dense)
    for _ in range(300):
        constraints.power_iterate(d)
    assert all(largest_singular_value(layer.weight) == pytest.approx(1, abs=1e-3) for layer in dense)


def test_forward_changes_no_buffer_and_the_iteration_does() -> None:
    d = spectral("dcgan", 28).discriminator
    x = torch.randn(BATCH, 1, 28, 28)
    before = {name: b.clone() for name, b in d.named_buffers()}
    assert len(before) == 2 * 4  # u and v of two convolutions, the head and the projection
    assert torch.equal(d(x, labels()), d(x, labels()))
    assert all(torch.equal(b, before[name]) for name, b in d.named_buffers())
    with torch.no_grad():
        for parameter in d.parameters():
            parameter.add_(torch.randn_like(parameter))
    constraints.power_iterate(d)
    # A matrix of one row has u = 1 whatever happens.
    assert all(not torch.equal(b, before[name]) for name, b in d.named_buffers() if len(b) > 1)


def test_the_gradient_of_spectral_norm() -> None:
    """Equation 12 of Miyato et al. 2018: u and v are constants, σ is not."""
    layer = nn.Linear(5, 4, dtype=torch.float64)
    constraints.normalise_spectrally(layer)
    (weights,) = spectral_weights(layer)
    w, rule = weights.original, weights[0]
    assert isinstance(w, Tensor)
    assert isinstance(rule, constraints.SpectralNorm)
    upstream = torch.randn(4, 5, dtype=torch.float64)
    (layer.weight * upstream).sum().backward()  # type: ignore[no-untyped-call]
    u, v = rule.u, rule.v
    sigma = u @ w @ v
    by_hand = (upstream - (upstream * w / sigma).sum() * torch.outer(u, v)) / sigma
    torch.testing.assert_close(w.grad, by_hand.detach())


def test_spectral_norm_of_a_transposed_convolution_has_a_row_for_each_output() -> None:
    layer = nn.ConvTranspose2d(6, 2, 3)
    constraints.normalise_spectrally(layer)
    for _ in range(100):
        constraints.power_iterate(layer)
    assert largest_singular_value(layer.weight.transpose(0, 1)) == pytest.approx(1, abs=1e-4)


def test_a_spectral_state_dict_round_trips() -> None:
    one, other = (spectral("resnet", 16, seed=seed).discriminator for seed in (1, 2))
    x = torch.randn(BATCH, 1, 16, 16)
    assert not torch.equal(one(x, labels()), other(x, labels()))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x, labels()), other(x, labels()))
    constraints.power_iterate(one)
    constraints.power_iterate(other)
    assert torch.equal(one(x, labels()), other(x, labels()))


def test_spectral_norm_begins_the_same_for_the_same_seed() -> None:
    state = torch.get_rng_state()
    one, other = (spectral("dcgan", 16, seed=3).discriminator.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_optimiser_holds_the_weight_itself() -> None:
    gan = spectral("dcgan", 16)
    held = {id(p) for group in gan.d_optimizer.param_groups for p in group["params"]}
    assert all(id(weights.original) in held for weights in spectral_weights(gan.discriminator))


@settings(max_examples=20)
@given(bound=st.floats(1e-4, 2))
def test_clipped_weights(bound: float) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = [p.detach().clone() for p in network.parameters()]
    constraints.clip_weights(network, bound)
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.equal(new, old.clamp(-bound, bound))


def test_nothing_to_iterate() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    constraints.power_iterate(layer)
    assert torch.equal(layer.weight, before)
