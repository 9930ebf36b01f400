"""An examination: what it finds in networks whose illness is known, and that training never knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mulligan
from mulligan import data, training, vitals
from mulligan import recipe as recipes
from mulligan.data.dataset import Dataset
from mulligan.loop import examinations
from mulligan.state import State
from support import small, trained

# (recipe, changes): networks of every kind, with and without labels, BatchNorm and packing
KINDS: dict[str, tuple[str, ...]] = {
    "mlp-relu": small("mlp-relu"),
    "mlp-tanh": small("mlp-tanh"),
    "mlp-batchnorm": small("mlp-batchnorm"),
    "dcgan-softmax": small("dcgan-softmax"),
    "swift": ("generator.width=4", "discriminator.width=4", "condition.clusters=5"),
    "conditional": ("generator.width=4", "discriminator.width=4"),
    "lsgan": ("generator.width=4", "discriminator.width=4", "step.pack=2"),
    "wgan-gp": ("generator.width=4", "discriminator.width=4"),
}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def begun(recipe: str, source: Dataset | str, changes: tuple[str, ...] = (), updates: int = 2) -> State:
    """A run after a few updates."""
    state = training.prepare(recipe, data=source, overrides=changes).state
    for _ in range(updates):
        state.advance()
    return state


@pytest.mark.parametrize("recipe", KINDS)
def test_every_kind_of_network_can_be_examined(recipe: str, digits: Dataset) -> None:
    state = begun(recipe, digits, KINDS[recipe])
    signs = vitals.examine(state)
    assert 0 <= signs["separation"] <= 1
    assert signs["diversity"] > 0
    assert signs["slope"] > 0
    assert signs["g_grad"] > 0
    assert signs["d_grad"] == pytest.approx(sum(x**2 for x in signs["d_grads"].values()) ** 0.5, rel=1e-4)
    assert 0 < signs["g_update"] < 1
    assert 0 < signs["g_weight"] < 1
    objective = state.gan.objective
    assert signs["g_equilibrium"] == pytest.approx(objective.equilibrium[1], rel=1e-5)
    assert signs["d_chance"] == pytest.approx(objective.chance[0] * state.gan.d_scale, rel=1e-5)
    assert ("real_accuracy" in signs) == (objective.probability is not None)
    assert ("g_dead" in signs) == (recipe in ("mlp-relu", "conditional", "lsgan", "wgan-gp"))
    assert ("d_saturated" in signs) == (recipe in ("mlp-tanh", "dcgan-softmax"))
    normalised = ("mlp-batchnorm", "conditional", "lsgan", "wgan-gp")
    assert ("batch_effect" in signs) == (recipe in normalised)


def test_points_can_be_examined() -> None:
    signs = vitals.examine(begun("points", "ring-8", ("condition.clusters=4",)))
    assert "closer" not in signs
    assert signs["energy"] > 0


def test_an_examination_is_the_same_again_and_leaves_no_trace(digits: Dataset) -> None:
    state = begun("mlp-batchnorm", digits, small("mlp-batchnorm"))
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    torch.manual_seed(5)  # the caller's own randomness is of no importance, and is left alone
    here = torch.get_rng_state()
    assert vitals.examine(state) == vitals.examine(state)
    assert torch.equal(torch.get_rng_state(), here)
    after = state.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_never_knows(digits: Dataset, tmp_path: Path) -> None:
    def weights(examinations: int) -> dict[str, Any]:
        run = mulligan.train(
            "mlp-batchnorm",
            data=digits,
            steps=60,
            out=tmp_path / str(examinations),
            overrides=(*small("mlp-batchnorm"), f"log.examinations={examinations}"),
        )
        return trained(run.directory)

    often, never = weights(40), weights(0)
    assert all(torch.equal(often[name], never[name]) for name in never)


def linears(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def test_dead_units_are_counted(digits: Dataset) -> None:
    state = begun("mlp-relu", digits, ("generator.hidden=[8]", "discriminator.hidden=[8]"))
    with torch.no_grad():
        linears(state.gan.generator)[0].bias[:6] = -1e3
    assert vitals.examine(state)["g_dead"] >= 0.75


def test_saturated_units_are_counted(digits: Dataset) -> None:
    state = begun("mlp-tanh", digits, ("generator.hidden=[8]", "discriminator.hidden=[8]"))
    with torch.no_grad():
        linears(state.gan.generator)[0].bias[:] = 1e3
        linears(state.gan.discriminator)[0].bias[:4] = -1e3
    signs = vitals.examine(state)
    assert signs["g_saturated"] == 1
    assert signs["d_saturated"] >= 0.5
    assert signs["latent_effect"] < 1e-6


def test_a_generator_without_latents_has_no_diversity(digits: Dataset) -> None:
    state = begun("mlp-relu", digits, small("mlp-relu"))
    with torch.no_grad():
        linears(state.gan.generator)[0].weight.zero_()
    signs = vitals.examine(state)
    assert max(signs["diversity"], signs["latent_effect"]) < 1e-5


def test_labels_alone_make_diversity_but_no_latent_effect(digits: Dataset) -> None:
    changes = ("condition.kind=concat", *small("mlp-relu"))
    state = begun("mlp-relu", digits, changes)
    with torch.no_grad():
        first = linears(state.gan.generator)[0]
        first.weight[:, :100] = 0
        first.weight[:, 100:] *= 30
    signs = vitals.examine(state)
    assert signs["latent_effect"] < 1e-9
    assert signs["diversity"] > 1e-4


def test_reals_for_fakes_are_no_distance_away(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    state = begun("mlp-relu", digits, small("mlp-relu"))
    reals, _ = state.probe.reals()
    monkeypatch.setattr(vitals, "generate", lambda _gan, z, _y: reals[: len(z)])
    monkeypatch.setattr(vitals, "_game", lambda *_: {})
    signs = vitals.examine(state)
    assert abs(signs["energy"]) < 0.05
    assert signs["diversity"] == pytest.approx(1, abs=0.2)


def test_a_small_batch_of_batchnorm_moves_its_images(digits: Dataset) -> None:
    def effect(batch: int) -> float:
        changes = (*small("mlp-batchnorm"), f"data.batch={batch}", "data.last=carry")
        state = begun("mlp-batchnorm", digits, changes, updates=100)
        return float(vitals.examine(state)["batch_effect"])

    assert effect(2) > 3 * effect(64)


def test_what_is_learnt_by_heart_is_close(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Dataset("few", digits.images[:200])
    state = begun("mlp-relu", few, small("mlp-relu"))
    assert vitals.examine(state)["closer"] < 0.5
    reals, _ = state.probe.reals()
    monkeypatch.setattr(vitals, "generate", lambda _gan, z, _y: reals[: len(z)])
    monkeypatch.setattr(vitals, "_game", lambda *_: {})
    assert vitals.examine(state)["closer"] > 0.95


def test_what_is_not_finite_is_left_blank(digits: Dataset) -> None:
    state = begun("mlp-relu", digits, small("mlp-relu"))
    with torch.no_grad():
        linears(state.gan.discriminator)[0].weight[0, 0] = float("nan")
    signs = vitals.examine(state)
    assert signs["d_loss"] is None
    assert signs["diversity"] > 0


def test_a_short_batch_at_the_end_of_an_epoch_is_no_trouble(digits: Dataset) -> None:
    few = Dataset("few", digits.images[:70])
    changes = (*small("mlp-batchnorm"), "data.batch=40", "data.last=short")
    assert vitals.examine(begun("mlp-batchnorm", few, changes))["batch_effect"] > 0


@pytest.mark.parametrize(
    ("updates", "apart"), [(150, 25), (600, 25), (1_800, 75), (3_600, 100), (100_000, 2_000)]
)
def test_examinations_are_few_in_a_short_run_and_evenly_spread_in_a_long_one(
    updates: int, apart: int
) -> None:
    recipe = recipes.read("swift", (f"budget.images={updates * 32}", "log.examinations=50"))
    assert examinations(recipe).every == apart * 32
    assert examinations(recipes.read("swift", ("log.examinations=0",))).every == 0
