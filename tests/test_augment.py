"""DiffAugment: what each change does, that it is differentiable, and that every image has its own draws."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from mulligan import augment
from mulligan.augment import POLICIES, Draw
from mutants import mutated

PIXELS = (-1.0, 1.0)
SINGLE = ("brightness", "saturation", "contrast", "translation", "cutout", "affine")


def images(n: int = 4, c: int = 3, h: int = 16, w: int = 24, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(n, c, h, w, generator=rng, dtype=torch.float64) * 2 - 1


def draws(seed: int = 0) -> Draw:
    rng = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.rand(*shape, generator=rng, dtype=torch.float64)


def dealt(*values: Sequence[float]) -> Draw:
    """Deal the values given, one row for each call."""
    rows = iter(values)
    return lambda *shape: torch.tensor(next(rows), dtype=torch.float64).reshape(shape)


def apply(name: str, x: Tensor, uniform: Draw, pixels: tuple[float, float] = PIXELS) -> Tensor:
    return augment.augment(x, [name], uniform, pixels)


def test_policies_are_those_of_the_paper_with_their_parts_and_affine() -> None:
    assert set(POLICIES) == {"color", *SINGLE}
    assert POLICIES["color"] == (augment.brightness, augment.saturation, augment.contrast)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (1, 3, 32, 32), (2, 1, 8, 11), (5, 2, 1, 1), (0, 1, 8, 8)])
def test_shape_and_dtype_stay(name: str, shape: tuple[int, int, int, int]) -> None:
    x = images(*shape).float()
    rng = torch.Generator().manual_seed(0)
    out = apply(name, x, lambda *shape: torch.rand(*shape, generator=rng))
    assert (out.shape, out.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("name", POLICIES)
def test_differentiable(name: str) -> None:
    x = images(2, 3, 8, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: apply(name, x, draws()), (x,))


@pytest.mark.parametrize("name", SINGLE)
def test_gradients_arrive_where_pixels_are_kept(name: str) -> None:
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(apply(name, x, draws()).square().sum(), x)
    kept = (gradient != 0).double().mean()
    assert kept > (0.6 if name in ("translation", "cutout", "affine") else 0.99)


@pytest.mark.parametrize("name", POLICIES)
def test_same_draws_same_result_and_others_another(name: str) -> None:
    x = images()
    assert torch.equal(apply(name, x, draws(1)), apply(name, x, draws(1)))
    assert not torch.equal(apply(name, x, draws(1)), apply(name, x, draws(2)))


@pytest.mark.parametrize("name", SINGLE)
def test_every_image_has_draws_of_its_own_and_only_those(name: str) -> None:
    x = images(1).repeat(16, 1, 1, 1)
    out = apply(name, x, draws())
    assert len(torch.unique(out.flatten(1), dim=0)) > 8
    changed = x.clone()
    changed[3] = images(1, seed=9)[0]
    others = [i for i in range(16) if i != 3]
    assert torch.equal(apply(name, changed, draws())[others], out[others])


def test_the_input_and_the_global_random_state_stay() -> None:
    x = images()
    before, state = x.clone(), torch.random.get_rng_state()
    augment.augment(x, list(POLICIES), draws(), PIXELS)
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def check(module: types.ModuleType = augment) -> None:
    """Each change, dealt known numbers, does what plain numpy does."""
    x = images()
    array = x.numpy()

    # Brightness: u − ½, in halves of the range.
    u = [0.0, 0.25, 0.5, 1.0]
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (2.0, 8.0)):
        shift = np.array([-0.25, -0.125, 0, 0.25]) * (high - low)
        out = module.brightness(x, dealt(u), (low, high))
        np.testing.assert_allclose(out, array + shift[:, None, None, None], atol=1e-12)

    # Saturation and contrast: deviations from the mean times 2u and u + ½.
    out = module.saturation(x, dealt(u), PIXELS).numpy()
    for i in range(4):
        mean = array[i].mean(axis=0)
        np.testing.assert_allclose(out[i], mean + 2 * u[i] * (array[i] - mean), atol=1e-12)
    out = module.contrast(x, dealt(u), PIXELS).numpy()
    for i in range(4):
        mean = array[i].mean()
        np.testing.assert_allclose(out[i], mean + (u[i] + 0.5) * (array[i] - mean), atol=1e-12)
    one = images(2, 1)
    assert torch.equal(module.saturation(one, draws(), PIXELS), one)

    # Translation, 16×24: −2..2 rows and −3..3 columns.
    out = module.translation(x, dealt([0, 0.41, 0.999, 0.5], [0, 0.999, 0.2, 0.5]), (-5.0, 1.0)).numpy()
    for i, (dy, dx) in enumerate([(-2, -3), (0, 3), (2, -2), (0, 0)]):
        expected = np.full((3, 16, 24), -5.0)
        for row in range(16):
            for column in range(24):
                if 0 <= row + dy < 16 and 0 <= column + dx < 24:
                    expected[:, row, column] = array[i, :, row + dy, column + dx]
        np.testing.assert_array_equal(out[i], expected)

    # Cutout, 16×24: 4..8 rows and 6..12 columns around a centre.
    sizes, centre_y, centre_x = [0, 0.999, 0.5, 0], [0.5, 0.5, 0, 0.999], [0.5, 0.25, 0.999, 0]
    out = module.cutout(x, dealt(sizes, centre_y, centre_x), (0.0, 4.0)).numpy()
    for i, (top, bottom, left, right) in enumerate(
        [(6, 10, 9, 15), (4, 12, 0, 12), (0, 3, 19, 24), (13, 16, 0, 3)]
    ):
        expected = array[i].copy()
        expected[:, top:bottom, left:right] = 2.0
        np.testing.assert_array_equal(out[i], expected)

    # Affine, 16×24: turn, tall, wide, slant, each −most..most.
    u4 = np.array([[0.5, 0.5, 0.5, 0.5], [1, 0.5, 0.5, 0.5], [0.2, 0, 1, 0.9], [0.9, 0.8, 0.1, 0]])
    out = module.affine(x, dealt(*u4.T), (-5.0, 1.0)).numpy()
    for i, shares in enumerate(u4 * 2 - 1):
        turn, tall, wide, slant = shares * (0.2, 0.15, 0.15, 0.2)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # of (down, right)
        matrix = np.diag(np.exp([tall, wide])) @ np.array([[1, 0], [slant, 1]]) @ rotation
        places = np.mgrid[:16, :24].reshape(2, -1) - np.array([[7.5], [11.5]])
        at = matrix @ places + np.array([[7.5], [11.5]])
        for image, expected in zip(out[i], array[i], strict=True):
            found = map_coordinates(expected, at, order=1, mode="grid-constant", cval=-5.0)
            np.testing.assert_allclose(image.ravel(), found, atol=1e-12)

    # Instance noise.
    noise = images(seed=5)
    shapes: list[tuple[int, ...]] = []

    def normal(*shape: int) -> Tensor:
        shapes.append(shape)
        return noise

    np.testing.assert_allclose(module.instance_noise(x, 0.3, normal), array + 0.3 * noise.numpy(), atol=1e-12)
    assert torch.equal(module.instance_noise(x, torch.tensor(0.0), normal), x)
    assert shapes == [tuple(x.shape)] * 2


def test_known_draws() -> None:
    check()


def test_draws_that_change_nothing() -> None:
    x = images()
    for name in ("brightness", "saturation", "contrast", "color", "translation", "affine"):
        halves: Draw = lambda *shape: torch.full(shape, 0.5, dtype=torch.float64)  # noqa: E731
        torch.testing.assert_close(apply(name, x, halves), x, rtol=0, atol=1e-12)
    dot = images(3, 2, 1, 1)
    assert torch.equal(augment.augment(dot, ["translation", "cutout"], draws(), PIXELS), dot)
    assert augment.augment(x, [], draws(), PIXELS) is x


def test_policies_are_applied_in_their_order() -> None:
    x = images()
    uniform = draws(3)
    expected = augment.cutout(augment.translation(x, uniform, PIXELS), uniform, PIXELS)
    assert torch.equal(augment.augment(x, ["translation", "cutout"], draws(3), PIXELS), expected)


def test_expectations() -> None:
    """Colour changes leave an image as it is on average; every shift and every place is as likely."""
    n = 10_000
    x = images(1, 3, 4, 4).expand(n, 3, 4, 4)
    for name in ("brightness", "saturation", "contrast"):
        torch.testing.assert_close(apply(name, x, draws(1)).mean(dim=0), x[0], rtol=0, atol=0.02)
    lit = torch.full((n, 1, 28, 28), -1.0, dtype=torch.float64)
    lit[:, :, 14, 14] = 1
    seen = (apply("translation", lit, draws(2)) == 1).double().mean(dim=0)[0]
    assert seen.sum() == pytest.approx(1)  # nothing is lost in the middle
    where = seen[11:18, 11:18]  # 3 pixels each way
    assert where.sum() == pytest.approx(1)
    torch.testing.assert_close(where, torch.full_like(where, 1 / 49), rtol=0, atol=0.008)


def test_size_of_what_is_cut_out() -> None:
    x = torch.ones(2_000, 1, 28, 28)
    rng = torch.Generator().manual_seed(0)
    out = augment.cutout(x, lambda *shape: torch.rand(*shape, generator=rng), PIXELS)
    rows, columns = (out == 0).any(dim=3).sum(dim=2), (out == 0).any(dim=2).sum(dim=2)
    assert rows.max() == columns.max() == 14
    middle = (out[:, 0, 7:21, 7:21] == 0).any(dim=(1, 2))
    assert rows[middle].min() <= 7  # a quarter, or less at an edge
    hidden = (out == 0).float().mean(dim=0)[0]
    assert hidden.min() > 0.02  # no pixel is safe


# Mutants ---------------------------------------------------------------------------------------

MUTANTS: dict[str, tuple[str, str]] = {
    "brightness ignores the range": (" * (high - low) / 2", ""),
    "brightness twice as strong": ("(high - low) / 2", "(high - low)"),
    "brightness one way": ("uniform(len(x), 1, 1, 1) - 0.5", "uniform(len(x), 1, 1, 1)"),
    "saturation at most 1": ("(uniform(len(x), 1, 1, 1) * 2)", "uniform(len(x), 1, 1, 1)"),
    "saturation from the image's mean": ("mean(dim=1, keepdim", "mean(dim=(1, 2, 3), keepdim"),
    "contrast from the pixel's mean": ("x.mean(dim=(1, 2, 3), keepdim=True)", "x.mean(dim=1, keepdim=True)"),
    "contrast from the batch's mean": ("x.mean(dim=(1, 2, 3), keepdim=True)", "x.mean()"),
    "contrast in 0..1": ("(uniform(len(x), 1, 1, 1) + 0.5)", "uniform(len(x), 1, 1, 1)"),
    "the mean is not put back": ("+ 0.5) + mean", "+ 0.5)"),
    "translation fills with 0": ("value=pixels[0]", "value=0"),
    "translation fills with high": ("value=pixels[0]", "value=pixels[1]"),
    "translation goes round": ("value=pixels[0]", "mode='circular'"),
    "translation too short": ("2 * most_y + 1", "2 * most_y"),
    "sides exchanged": ("h // 8, w // 8", "w // 8, h // 8"),
    "a quarter of the side": ("h // 8, w // 8", "h // 4, w // 4"),
    "cutout fills with low": ("sum(pixels) / 2", "pixels[0]"),
    "cutout fills with 0": ("sum(pixels) / 2", "0"),
    "cutout's corner for its centre": (" - height // 2", ""),
    "cutout too large": ("(1 + uniform(b, 1, 1, 1)) / 4", "(1 + uniform(b, 1, 1, 1)) / 2"),
    "cutout keeps what it should hide": ("masked_fill(hidden", "masked_fill(~hidden"),
    "affine frames with 0": ("value=outside", "value=0"),
    "affine turns the other way": ("down - angle.sin() * right", "down + angle.sin() * right"),
    "affine about the corner": ("rows - (h - 1) / 2", "rows"),
    "affine about half a pixel beside the middle": ("(w - 1) / 2 +", "w / 2 +"),
    "affine stretches one side alone": ("tall.exp() *", ""),
    "affine without slant": ("+ slant * turned_down", ""),
    "affine stretches down what it stretches right": ("(0.2, 0.15, 0.15, 0.2)", "(0.2, 0.15, 0.2, 0.15)"),
    "affine takes the nearest pixel": ("below, right = rows - top, columns - left", "below, right = 0, 0"),
    "affine without the last row": ("clamp(max=h), columns", "clamp(max=h - 1), columns"),
    "noise without its scale": ("sigma * normal", "normal"),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_fails_for_a_mutant(mutant: str) -> None:
    module: Any = mutated("augment", *MUTANTS[mutant])
    with pytest.raises((AssertionError, RuntimeError, ValueError, IndexError)):
        check(module)


def test_the_check_passes_for_the_unmutated_text() -> None:
    check(mutated("augment", "h // 8", "h // 8"))
