"""What D sees of an image: DiffAugment for small images, affine changes, and instance noise.

Zhao et al. 2020, arXiv 2006.10738: reals and fakes pass through the same random, differentiable
changes before D, in D's turn and in G's, so that a small set is not learnt by heart and yet G's
fakes stay unchanged. Every image has draws of its own, all from the ``uniform`` or ``normal`` that
is passed in: ``uniform(*shape)`` in [0, 1), on the images' device.

The paper's sizes are for pixels in −1..1; here they follow the recipe's range, ``pixels`` =
(low, high). Nothing is clamped to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

Draw = Callable[..., Tensor]
Pixels = tuple[float, float]
Augmentation = Callable[[Tensor, Draw, Pixels], Tensor]  # (x [B, C, H, W], uniform, pixels) -> as x


def brightness(x: Tensor, uniform: Draw, pixels: Pixels) -> Tensor:
    """Add one number to an image, at most a quarter of the range: −½..½ where pixels are −1..1."""
    low, high = pixels
    return x + (uniform(len(x), 1, 1, 1) - 0.5) * (high - low) / 2


def saturation(x: Tensor, uniform: Draw, _pixels: Pixels) -> Tensor:
    """Stretch three channels from their mean, pixel by pixel, by a factor in 0..2; else change nothing."""
    if x.shape[1] != 3:
        return x
    mean = x.mean(dim=1, keepdim=True)  # [B, 1, H, W]
    return (x - mean) * (uniform(len(x), 1, 1, 1) * 2) + mean


def contrast(x: Tensor, uniform: Draw, _pixels: Pixels) -> Tensor:
    """Stretch an image from its mean by a factor in ½..1½."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)  # [B, 1, 1, 1]
    return (x - mean) * (uniform(len(x), 1, 1, 1) + 0.5) + mean


def translation(x: Tensor, uniform: Draw, pixels: Pixels) -> Tensor:
    """Shift by whole pixels, each way at most an eighth of the side, rounded down (3 of 28).

    What comes in from outside is ``low``, a digit's background; the paper's code shifts in the
    middle of the range, which is a grey edge where the background is black.
    """
    b, c, h, w = x.shape
    most_y, most_x = h // 8, w // 8
    rows, columns = _positions(x)
    rows = rows + _integers(uniform, b, 2 * most_y + 1)  # [B, 1, H, 1]
    columns = columns + _integers(uniform, b, 2 * most_x + 1)  # [B, 1, 1, W]
    images = torch.arange(b, device=x.device)[:, None, None, None]
    channels = torch.arange(c, device=x.device)[:, None, None]
    return pad(x, (most_x, most_x, most_y, most_y), value=pixels[0])[images, channels, rows, columns]


def cutout(x: Tensor, uniform: Draw, pixels: Pixels) -> Tensor:
    """Hide a rectangle, a quarter to a half of each side, whose centre is anywhere in the image.

    The paper hides half of each side, which leaves little of a digit. The hidden part is the middle
    of the range, as in the paper's code: ``low`` would look like a stroke that was never drawn,
    and G would learn to leave strokes out.
    """
    b, _, h, w = x.shape
    fraction = (1 + uniform(b, 1, 1, 1)) / 4
    height, width = (fraction * h).round(), (fraction * w).round()
    top = _integers(uniform, b, h) - height // 2
    left = _integers(uniform, b, w) - width // 2
    rows, columns = _positions(x)
    hidden = (top <= rows) & (rows < top + height) & (left <= columns) & (columns < left + width)
    return x.masked_fill(hidden, sum(pixels) / 2)


def affine(x: Tensor, uniform: Draw, pixels: Pixels) -> Tensor:
    """Turn by at most 0.2 radians, stretch each side by e^±0.15 and slant by at most 0.2, around the middle.

    The least of the geometric changes of Karras et al. 2020 (arXiv 2006.06676, appendix B), as one hand's
    writing differs from another's. Between pixels it is bilinear; what comes in from outside is ``low``.
    """
    b, _, h, w = x.shape
    angle, tall, wide, slant = (
        most * (2 * uniform(b, 1, 1, 1) - 1)  # each [B, 1, 1, 1]
        for most in (0.2, 0.15, 0.15, 0.2)
    )
    rows, columns = _positions(x)
    down, right = rows - (h - 1) / 2, columns - (w - 1) / 2
    turned_down = angle.cos() * down - angle.sin() * right
    turned_right = angle.sin() * down + angle.cos() * right
    return _between(
        x,
        (h - 1) / 2 + tall.exp() * turned_down,
        (w - 1) / 2 + wide.exp() * (turned_right + slant * turned_down),
        pixels[0],
    )


POLICIES: dict[str, tuple[Augmentation, ...]] = {
    "color": (brightness, saturation, contrast),
    "brightness": (brightness,),
    "saturation": (saturation,),
    "contrast": (contrast,),
    "translation": (translation,),
    "cutout": (cutout,),
    "affine": (affine,),
}


def augment(x: Tensor, policies: Sequence[str], uniform: Draw, pixels: Pixels) -> Tensor:
    """Apply policies by name, in their order, to images ``[B, C, H, W]`` in the range ``pixels``."""
    for policy in policies:
        for change in POLICIES[policy]:
            x = change(x, uniform, pixels)
    return x


def instance_noise(x: Tensor, sigma: float | Tensor, normal: Draw) -> Tensor:
    """Add Gaussian noise of standard deviation ``sigma``, in the pixels' own units.

    Sønderby et al. 2017, arXiv 1610.04490; Arjovsky & Bottou 2017, arXiv 1701.04862.
    """
    return x + sigma * normal(*x.shape)


def _positions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel, ``[H, 1]`` and ``[W]``."""
    h, w = x.shape[2:]
    return torch.arange(h, device=x.device)[:, None], torch.arange(w, device=x.device)


def _between(x: Tensor, rows: Tensor, columns: Tensor, outside: float) -> Tensor:
    """Look an image up between its pixels, bilinearly, at rows and columns ``[B, 1, H, W]``.

    By indices: the gradients of `grid_sample` add up in no order on CUDA. Nor may these, once compiled there.
    """
    b, c, h, w = x.shape
    rows, columns = (rows + 1).clamp(0, h + 1), (columns + 1).clamp(0, w + 1)  # within a frame of `outside`
    top, left = rows.floor().clamp(max=h), columns.floor().clamp(max=w)
    below, right = rows - top, columns - left  # shares in 0..1
    i, j = top.long(), left.long()
    images = torch.arange(b, device=x.device)[:, None, None, None]
    channels = torch.arange(c, device=x.device)[:, None, None]
    x = pad(x, (1, 1, 1, 1), value=outside)
    upper = (1 - right) * x[images, channels, i, j] + right * x[images, channels, i, j + 1]
    lower = (1 - right) * x[images, channels, i + 1, j] + right * x[images, channels, i + 1, j + 1]
    return (1 - below) * upper + below * lower


def _integers(uniform: Draw, n: int, count: int) -> Tensor:
    """Draw n integers in 0..count-1, ``[n, 1, 1, 1]``."""
    return (uniform(n, 1, 1, 1) * count).long()
