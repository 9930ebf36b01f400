"""What is measured on fresh batches between updates, as some tutorials print it.

Everything here draws from the state's probe, so that training's bits do not depend on what is
measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mulligan.recipe import DOfFakeStop, PlateauStop
from mulligan.state import State
from mulligan.step import GAN


@contextmanager
def _measuring(gan: GAN) -> Iterator[None]:
    """Evaluation mode, without gradients: BatchNorm takes single images, and learns nothing from them."""
    networks = (gan.generator, gan.discriminator)
    for network in networks:
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for network in networks:
            network.train()


def fresh_costs(state: State) -> dict[str, float]:
    """Both costs on fresh batches, the largest pixel of one fresh fake (0..255) and D(G(z)) of another."""
    gan, probe = state.gan, state.probe
    with _measuring(gan):
        real, y = probe.reals()
        n = len(real)
        real_logits = gan.discriminator(real, y)
        g_terms = gan.objective.g(gan.discriminator(gan.generator(probe.latents(n), y), y), real_logits)
        fake_logits = gan.discriminator(gan.generator(probe.latents(n), y), y)
        real_terms, fake_terms = gan.objective.d(real_logits, fake_logits)
        low, high = state.recipe.data.pixels
        largest = gan.generator(probe.latents(1), None if y is None else y[:1]).max()
    return {
        "d_loss": float(gan.d_scale * (real_terms.mean() + fake_terms.mean())),
        "g_loss": float(g_terms.mean()),
        "largest_pixel": float((largest - low) * 255 / (high - low)),
        "d_of_fake": d_of_fake(state),
    }


def d_of_fake(state: State) -> float:
    """D(G(z)) of one fresh sample, in 0..1."""
    gan = state.gan
    y = None if state.probe.labels is None else state.probe.labels[:1]
    with _measuring(gan):
        logits = gan.discriminator(gan.generator(state.probe.latents(1), y), y)
    assert gan.objective.probability is not None, "the recipe refuses this rule without a probability"
    return float(gan.objective.probability(logits))


def d_of_fake_stop(rule: DOfFakeStop, state: State, measured: dict[str, float]) -> str | None:
    """Say why to stop, if D(G(z)) of one fresh sample has come close to 1/2."""
    if state.steps < rule.min_steps:
        return None
    value = measured["d_of_fake"] if "d_of_fake" in measured else d_of_fake(state)
    if rule.low < value < rule.high:
        return f"D(G(z)) = {value:.3f} lies between {rule.low:g} and {rule.high:g}"
    return None


def plateau_stop(rule: PlateauStop, state: State, _measured: dict[str, float]) -> str | None:
    """Say why to stop, if the scorecards have long ceased to improve by more than chance."""
    scores = state.scores
    if scores is None or state.images < rule.min_images or scores.cards_since < rule.cards:
        return None
    return (
        f"no card of the last {scores.cards_since} improved on the Fréchet distance {scores.frechet:.3g} "
        f"at {scores.images:,} images"
    )
