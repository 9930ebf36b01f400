"""Parts of a set: images that look alike, found by k-means, so that networks can be told which is which."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from mulligan import seeds

Labels = npt.NDArray[np.int64]
Parts = tuple[tuple[int, ...], ...]

SIDE = 16  # pixels a side that images are looked at
POINTS = 65_535  # into so many steps the range of points is divided
FITTED = 20_000  # images of a class that centres are fitted to
ROUNDS = 20
PIXELS = 1 << 23  # read at a time, so that a set that is mapped from a file stays there
ROWS = 4096  # compared at a time

Images = npt.NDArray[np.generic]
Rows = npt.NDArray[np.uint16]  # whole numbers, ``[N, D]``


def divide(
    images: Images, labels: Labels | None, classes: int, parts: int, smallest: int
) -> tuple[Labels, Parts]:
    """Divide every class, or all images where there are no labels, into parts of images that look alike.

    Lloyd's k-means on images brought down to at most 16×16 pixels. All of it is whole numbers, so that
    every machine finds the same parts, whatever its threads and its matrix products.

    Args:
        images: uint8 ``[N, C, H, W]``; of points in a plane, float32.
        labels: int64 ``[N]``, or None.
        classes: K, of which some may have no image here.
        parts: Into how many a class is divided at most.
        smallest: Images that a part has on average, or the class is divided into fewer.

    Returns:
        For each image its part, int64 ``[N]``, the parts of class 0 first; and for each class (for the
        one of all images, without labels) how many images each of its parts has.
    """
    look = _look_at_points(images) if images.dtype.kind == "f" else _look_at_images
    found = np.zeros(len(images), np.int64)
    sizes: list[tuple[int, ...]] = []
    begun = 0
    for k in range(classes if labels is not None else 1):
        members = np.arange(len(images)) if labels is None else np.flatnonzero(labels == k)
        into = min(parts, len(members) // smallest)
        assigned = _k_means(images, look, members, into, k) if into > 1 else np.zeros_like(members)
        counts = np.bincount(assigned, minlength=1)
        found[members] = begun + assigned
        sizes.append(tuple(counts.tolist()))
        begun += len(counts)
    return found, tuple(sizes)


def divide_pieces(
    images: Images,
    labels: Labels | None,
    classes: int,
    pieces: Literal["channels", "quarters", "pyramid"],
    parts: int,
    smallest: int,
) -> tuple[Labels, Parts]:
    """Divide the images once for each of their pieces, by how they look in that piece alone.

    The class, where there are labels, counts as one more piece, the first: its parts are the classes. A
    piece that is the whole image is divided within each class, into an equal share of the parts where that
    is two or more: among images of all classes a 7 would be told of with the 2s it resembles. Other pieces
    are divided among those of all classes.

    Args:
        images: ``[N, C, H, W]``.
        labels: int64 ``[N]``, or None.
        classes: K, of which some may have no image here.
        pieces: C channels; or the upper left, upper right, lower left and lower right; or, before those
            four, the whole image, as spatial pyramids have it (Lazebnik et al. 2006, CVPR).
        parts: Into how many a piece is divided at most.
        smallest: As for ``divide``.

    Returns:
        For each image its part in each piece, int64 ``[N, P]``, the parts of the first piece first; and
        for each piece how many images each of its parts has.
    """
    _, channels, height, width = images.shape
    halves = [(slice(side // 2), slice(side // 2, None)) for side in (height, width)]
    cuts: list[tuple[slice, ...]] = (
        [(slice(c, c + 1),) for c in range(channels)]
        if pieces == "channels"
        else [(slice(None), down, across) for down, across in product(*halves)]
    )
    if pieces == "pyramid":
        cuts.insert(0, ())
    found = [] if labels is None else [labels]
    sizes: Parts = () if labels is None else (tuple(np.bincount(labels, minlength=classes).tolist()),)
    share = 0 if labels is None else parts // len(np.unique(labels))
    for cut in cuts:
        piece = images[:, *cut]
        within = labels if piece.shape == images.shape and share > 1 else None
        into = parts if within is None else share
        assigned, _ = divide(piece, within, classes, into, smallest)
        there = np.unique(assigned, return_inverse=True)[1]  # classes without images have an empty part
        found.append(there + sum(map(len, sizes)))
        sizes += (tuple(np.bincount(there).tolist()),)
    return np.stack(found, axis=1), sizes


def _look_at_points(points: Images) -> Callable[[Images], Rows]:
    """Return what turns points into whole numbers, by the range of them all."""
    low, high = (float(end) for end in (points.min(), points.max()))

    def look(some: Images) -> Rows:
        share = (some.reshape(len(some), -1).astype(np.float64) - low) / max(high - low, 1e-9)
        return np.rint(POINTS * share).astype(np.uint16)

    return look


def _look_at_images(images: Images) -> Rows:
    """Return the means over squares of pixels, at most 16 of them a side."""
    n, _, height, width = images.shape
    step = math.ceil(max(height, width) / SIDE)
    down, across = math.ceil(height / step), math.ceil(width / step)
    edges = ((0, 0), (0, 0), (0, down * step - height), (0, across * step - width))
    squares = np.pad(images.astype(np.uint16), edges, mode="edge").reshape(n, -1, down, step, across, step)
    means: Rows = (squares.sum((3, 5), dtype=np.uint32) // step**2).astype(np.uint16).reshape(n, -1)
    return means


def _pieces(images: Images, look: Callable[[Images], Rows], which: Labels) -> Iterator[Rows]:
    """Look at some of the images, a bounded number of them at a time."""
    rows = max(1, PIXELS // math.prod(images.shape[1:]))
    for first in range(0, len(which), rows):
        yield look(images[which[first : first + rows]])


def _k_means(images: Images, look: Callable[[Images], Rows], members: Labels, k: int, seed: int) -> Labels:
    """Return the part of each member, numbered from 0 without gaps."""
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "parts")))
    sample = np.sort(rng.permutation(members)[:FITTED])
    fitted = np.concatenate(list(_pieces(images, look, sample)))
    centres = fitted[rng.permutation(len(fitted))[:k]].astype(np.float64)
    for _ in range(ROUNDS):
        nearest = _nearest(fitted, centres)
        order = np.argsort(nearest, kind="stable")
        there, first = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(fitted[order].astype(np.int64), first, axis=0)
        counts = np.diff([*first, len(order)])[:, None]
        moved = centres.copy()  # an empty part keeps its centre
        moved[there] = (sums + counts // 2) // counts
        if (moved == centres).all():
            break
        centres = moved
    assigned = np.concatenate([_nearest(piece, centres) for piece in _pieces(images, look, members)])
    parts: Labels = np.unique(assigned, return_inverse=True)[1].astype(np.int64)
    return parts


def _nearest(rows: Rows, centres: npt.NDArray[np.float64]) -> Labels:
    """Return the index of the centre nearest to each row; products of whole numbers are exact in float64."""
    norms = (centres**2).sum(1)
    found = np.empty(len(rows), np.int64)
    for first in range(0, len(rows), ROWS):
        piece = rows[first : first + ROWS].astype(np.float64)
        found[first : first + ROWS] = (norms - 2 * piece @ centres.T).argmin(1)
    return found
