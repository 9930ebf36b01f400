"""Parts of a set: images that look alike, found by k-means, so that networks can be told which is which."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mulligan import seeds

Labels = npt.NDArray[np.int64]
Parts = tuple[tuple[int, ...], ...]

SIDE = 16  # pixels a side that images are looked at
FEWEST = 50  # images to a part, or it is too small to be learned
FITTED = 20_000  # images of a class that centres are fitted to
ROUNDS = 20
ROWS = 10_000  # images compared at a time


def divide(
    images: npt.NDArray[np.generic], labels: Labels | None, classes: int, parts: int
) -> tuple[Labels, Parts]:
    """Divide every class, or all images where there are no labels, into parts of images that look alike.

    Lloyd's k-means on images brought down to at most 16×16 pixels. All of it is whole numbers, so that
    every machine finds the same parts, whatever its threads and its matrix products.

    Args:
        images: uint8 ``[N, C, H, W]``; of points in a plane, float32.
        labels: int64 ``[N]``, or None.
        classes: K, of which some may have no image here.
        parts: Into how many a class is divided at most; into fewer where each would have under 50 images.

    Returns:
        For each image its part, int64 ``[N]``, the parts of class 0 first; and for each class (for the
        one of all images, without labels) how many images each of its parts has.
    """
    rows = _shrunk(images) if parts > 1 else None
    found = np.zeros(len(images), np.int64)
    sizes: list[tuple[int, ...]] = []
    begun = 0
    for k in range(classes if labels is not None else 1):
        members = np.arange(len(images)) if labels is None else np.flatnonzero(labels == k)
        into = min(parts, len(members) // FEWEST)
        if rows is None or into < 2:
            assigned = np.zeros(len(members), np.int64)
        else:
            assigned = _k_means(rows, members, into, k)
        counts = np.bincount(assigned, minlength=1)
        found[members] = begun + assigned
        sizes.append(tuple(counts.tolist()))
        begun += len(counts)
    return found, tuple(sizes)


def _shrunk(images: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Return a row of whole numbers for each image: means over squares of its pixels."""
    if images.dtype.kind == "f":  # points: to the nearest 1/255 of their range
        points = images.reshape(len(images), -1).astype(np.float64)
        low, high = points.min(), points.max()
        whole: npt.NDArray[np.uint8] = np.rint((points - low) * (255 / max(high - low, 1e-9))).astype(
            np.uint8
        )
        return whole
    n, colours, height, width = images.shape
    step = math.ceil(max(height, width) / SIDE)
    down, across = math.ceil(height / step), math.ceil(width / step)
    rows = np.empty((n, colours, down, across), np.uint8)
    for first in range(0, n, ROWS):
        piece = np.asarray(images[first : first + ROWS], np.uint16)
        edges = ((0, 0), (0, 0), (0, down * step - height), (0, across * step - width))
        squares = np.pad(piece, edges, mode="edge").reshape(-1, colours, down, step, across, step)
        rows[first : first + ROWS] = squares.sum((3, 5), dtype=np.uint32) // step**2
    flat: npt.NDArray[np.uint8] = rows.reshape(n, -1)
    return flat


def _k_means(rows: npt.NDArray[np.uint8], members: npt.NDArray[np.int64], k: int, seed: int) -> Labels:
    """Return the part of each member, numbered from 0 without gaps."""
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "parts")))
    fitted = rows[np.sort(rng.permutation(members)[:FITTED])]
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
    parts: Labels = np.unique(_nearest(rows[members], centres), return_inverse=True)[1].astype(np.int64)
    return parts


def _nearest(rows: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64]) -> Labels:
    """Return the index of the centre nearest to each row; products of whole numbers are exact in float64."""
    norms = (centres**2).sum(1)
    found = np.empty(len(rows), np.int64)
    for first in range(0, len(rows), ROWS):
        piece = rows[first : first + ROWS].astype(np.float64)
        found[first : first + ROWS] = (norms - 2 * piece @ centres.T).argmin(1)
    return found
