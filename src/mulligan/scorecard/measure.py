"""Features in, metrics out: what a card says of a set of images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mulligan import seeds
from mulligan.evaluator import Judged
from mulligan.metrics import classes, frechet, kernel, manifold, sliced
from mulligan.metrics.estimate import Estimate
from mulligan.scorecard.reference import Floats, Reference, subset

NEIGHBOURS = 5
MANIFOLD = 10_000  # images a neighbourhood metric looks at on either side, at most


def compare(judged: Judged, reference: Reference, seed: int = 0) -> dict[str, Estimate]:
    """Measure everything that needs nothing but features and class probabilities."""
    features = judged.features
    return {
        "frechet": frechet.frechet(features, reference.target),
        "frechet_infinity": frechet.frechet_infinity(features, reference.target, seed),
        "kernel_distance": kernel.kernel_distance(features, reference.features),
        "sliced_wasserstein": sliced.sliced_wasserstein(features, reference.features, seed),
        **neighbourhoods(features, reference.features, seed),
        **_classes(judged, reference),
    }


def compare_lightly(judged: Judged, reference: Reference) -> dict[str, Estimate]:
    """Measure what a run is watched by."""
    features = judged.features
    few = {
        "frechet": frechet.frechet(features, reference.target),
        **neighbourhoods(features, reference.features),
    }
    if judged.probabilities is not None:
        few["class_kl"] = classes.class_kl(_histogram(judged), reference.about.class_shares)
    return few


def neighbourhoods(features: Floats, reference: Floats, seed: int = 0) -> dict[str, Estimate]:
    """Precision, recall, density and coverage between as many images on either side."""
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "neighbourhoods")))
    n = min(len(features), len(reference), MANIFOLD)
    return manifold.manifold(subset(features, n, rng), subset(reference, n, rng), NEIGHBOURS)


def _classes(judged: Judged, reference: Reference) -> dict[str, Estimate]:
    if judged.probabilities is None:
        return {}
    return {
        "classifier_score": classes.classifier_score(judged.probabilities),
        "class_kl": classes.class_kl(_histogram(judged), reference.about.class_shares),
    }


def _histogram(judged: Judged) -> npt.NDArray[np.int64]:
    assert judged.probabilities is not None
    return classes.histogram(judged.labels, judged.probabilities.shape[1])


def missing(judged: Judged, reference: Reference) -> tuple[list[int], list[int]]:
    """Return the class histogram and the missing classes; both empty without classes."""
    if judged.probabilities is None:
        return [], []
    counts = _histogram(judged)
    return [int(count) for count in counts], classes.missing(counts, reference.about.class_shares)


def in_canonical_order(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None = None, n: int | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
    """Sort images by their bytes, then shuffle them by a fixed seed; return the first n, or all.

    The order in which images come thus never changes a score, not even by a rounding error, and
    the first so many of them are still a random choice.
    """
    flat = np.ascontiguousarray(images.reshape(len(images), -1))
    keys = flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1])))[:, 0]
    order = np.argsort(keys, kind="stable")
    order = order[np.random.Generator(np.random.PCG64(0)).permutation(len(order))[:n]]
    return images[order], None if labels is None else labels[order]


def repeated(images: npt.NDArray[np.uint8]) -> int:
    """Count the images that are exact copies of an earlier one."""
    return len(images) - len({image.tobytes() for image in images})
