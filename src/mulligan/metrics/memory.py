"""Memorisation: are the samples copies of what the generator was trained on?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from mulligan.metrics.estimate import NORMAL, Estimate, Floats, around

NEIGHBOURS = 50
NEAR = 0.5  # of the mean distance to the 50 nearest training images
BLOCK = 512  # images whose distances to a block of training images are held at once
POOL = 1 << 26  # pixels of such a block; all of MNIST is one

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


def nearest(
    images: Pixels, training: Pixels, *, own: Indices | None = None
) -> tuple[Floats, Floats, Indices]:
    """Find each image's nearest training image by Euclidean distance of pixels in 0..1.

    Args:
        images: uint8 ``[N, P]``.
        training: uint8 ``[M, P]``.
        own: Which of ``training`` each image is, int64 ``[N]``, where it is one: it is not its own neighbour.

    Returns:
        The distances ``[N]``; their ratio to the mean distance of the 50 nearest ``[N]``, as Carlini et
        al. 2023 (arXiv 2301.13188, section 5) normalise it, since sparse strokes are all close to
        one another; and the index of the neighbour ``[N]``.
    """
    count = min(NEIGHBOURS, len(training) - (own is not None))
    candidates = _candidates(images, training, count, own)
    distances, ratios, found = [], [], []
    few = max(1, POOL // (8 * count * images.shape[1]))
    for image, near in zip(_blocks(images, few), torch.split(candidates, few), strict=True):
        # The few that matter once more without rounding: sums of squares below 2^53 are exact.
        neighbours = torch.from_numpy(training[near.numpy()]).double()
        exact = (image[:, None].double() - neighbours).square().sum(2).sqrt() / 255
        smallest, which = exact.min(1)
        distances.append(smallest)
        ratios.append(smallest / exact.mean(1).clamp(min=1e-12))
        found.append(near.gather(1, which[:, None])[:, 0])
    return torch.cat(distances).numpy(), torch.cat(ratios).numpy(), torch.cat(found).numpy()


def _candidates(images: Pixels, training: Pixels, count: int, own: Indices | None) -> torch.Tensor:
    """Return the ``count`` nearest training images of each, up to rounding: int64 ``[N, count]``."""
    best = torch.full((len(images), count), torch.inf)
    chosen = torch.zeros(len(images), count, dtype=torch.int64)
    rows = max(1, POOL // training.shape[1])
    for first, pool in zip(range(0, len(training), rows), _blocks(training, rows), strict=True):
        sizes = (pool * pool).sum(1)
        for start, block in zip(range(0, len(images), BLOCK), _blocks(images, BLOCK), strict=True):
            # ‖x − t‖² less ‖x‖², which ranks the same
            scores = torch.addmm(sizes, block, pool.T, alpha=-2)
            here = slice(start, start + len(block))
            if own is not None:
                selves = torch.from_numpy(own[here]) - first
                pooled = (selves >= 0) & (selves < len(pool))
                scores[pooled.nonzero()[:, 0], selves[pooled]] = torch.inf
            near = scores.topk(min(count, len(pool)), largest=False)
            merged = torch.cat([best[here], near.values], 1).topk(count, largest=False)
            best[here] = merged.values
            chosen[here] = torch.cat([chosen[here], near.indices + first], 1).gather(1, merged.indices)
    return chosen


def _blocks(images: Pixels, rows: int) -> Iterator[torch.Tensor]:
    """Yield float32 ``[rows, P]`` at a time: a whole set in floats may be larger than memory."""
    for start in range(0, len(images), rows):
        yield torch.from_numpy(np.ascontiguousarray(images[start : start + rows])).float()


def some_of(training: Pixels, most: int) -> Indices:
    """Pick ``most`` of the training images at random, always the same, sorted; all where there are no more.

    Never the first: images that lie in folders by class come class by class.
    """
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(training))
    picked: Indices = np.sort(order[:most])
    return picked


def near_copies(ratio: Floats) -> npt.NDArray[np.bool_]:
    """Tell which images lie half as far from one training image as from its next of kin."""
    copies: npt.NDArray[np.bool_] = ratio < NEAR
    return copies


def closeness(distances: Floats, held_out: Floats) -> Estimate:
    """Return the chance that a sample lies nearer to the training images than a held-out image does.

    ½ where samples keep the same distance as real images that were never trained on; 1 for
    copies. The Mann–Whitney statistic of the data-copying test of Meehan et al. 2020 (arXiv
    2004.05675), with the interval of Hanley and McNeil 1982.
    """
    n, m = len(distances), len(held_out)
    ordered = np.sort(held_out)
    below = np.searchsorted(ordered, distances, side="left")
    upto = np.searchsorted(ordered, distances, side="right")
    value = float((m - upto + (upto - below) / 2).sum()) / (n * m)
    least = 1 / (2 * min(n, m))  # at 0 and 1 the formula has no doubt left: half an image's worth is kept
    doubted = min(max(value, least), 1 - least)
    q1, q2 = doubted / (2 - doubted), 2 * doubted**2 / (1 + doubted)
    variance = (doubted * (1 - doubted) + (n - 1) * (q1 - doubted**2) + (m - 1) * (q2 - doubted**2)) / (n * m)
    half = NORMAL * float(np.sqrt(max(variance, 0.0)))
    found = around(value, half, least=0.0)
    return Estimate(found.value, found.low, min(1.0, found.high))
