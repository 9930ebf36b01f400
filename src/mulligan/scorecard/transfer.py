"""Train on a generator's images, test on real ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mulligan import evaluator
from mulligan.data.dataset import Dataset
from mulligan.metrics.estimate import Estimate, wilson

STEPS = 400


def learn_from(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], test: Dataset) -> Estimate:
    """Return the accuracy on real images of a classifier that has seen only the given ones.

    It is the classification accuracy score of Ravuri and Vinyals 2019 (arXiv 1905.10887): a
    class that is missing, blurred or wrongly labelled costs accuracy. A small network makes
    400 updates of 128 images, however many images there are.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``.
        test: Real images of the same shape and classes.
    """
    assert test.labels is not None
    network = evaluator.fit(images, labels, test.classes, steps=STEPS, lr=6e-3, small=True)
    about = evaluator.About(name="pupil", image_shape=test.image_shape, class_names=test.class_names)
    pupil = evaluator.in_memory(about, network)
    right = pupil.judge(test.images).labels == test.labels
    return wilson(int(right.sum()), len(right))
