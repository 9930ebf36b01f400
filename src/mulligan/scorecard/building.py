"""Make a reference: train an evaluator, and measure real images against real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mulligan import evaluator, seeds
from mulligan.data.dataset import Dataset
from mulligan.errors import UserError, is_unicode
from mulligan.evaluator import About as AboutEvaluator
from mulligan.evaluator import Evaluator, Judged
from mulligan.metrics import memory, path
from mulligan.scorecard import measure
from mulligan.scorecard.reference import MOST, About, Reference, profile, shares
from mulligan.scorecard.transfer import learn_from

SIZES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 60_000)
REPEATS = 5  # random sets of real images that a floor is the mean over
FEWEST = 40  # images of a data set that a reference can be made from
STEPS = 6000  # of the evaluator's training, each of 128 images
HELD_OUT = 1 / 3  # of a set without a test split

Say = Callable[[str], object]


class Alike(UserError):
    """Images do not differ."""


def build(
    training: Dataset,
    test: Dataset | None = None,
    *,
    name: str,
    source: str | None,
    steps: int = STEPS,
    seed: int = 0,
    say: Say = lambda _text: None,
) -> Reference:
    """Make a reference from a data set.

    With labels, a classifier is trained on the training images. Without, the evaluator is the
    documented fallback: a network with random weights, which can compare two sets of images but
    knows no classes; its name says so.

    Args:
        training: The images generators are trained on.
        test: Real images held out from them; None takes a third of ``training``, at random.
        name: Of the reference.
        source: How ``--data`` finds the training images again.
        steps: Updates of the evaluator.
        seed: The same seed on the same machine gives the same bits.
        say: Told what is going on.

    Raises:
        UserError: too few images, or all alike; names that are not Unicode; unknown classes in ``test``.
    """
    if strange := [text for text in (name, source or "", *training.class_names) if not is_unicode(text)]:
        raise UserError(f"{strange[0]!r}: is not Unicode, and a reference keeps its name: rename it")
    if training.images.dtype != np.uint8:
        raise UserError(f"{name}: points in a plane: they are judged by --reference ring-8 or grid-25")
    if len(training) < FEWEST:
        raise UserError(f"{name}: {len(training)} images: a reference needs at least {FEWEST}")
    whole, has_test = training, test is not None
    if test is None:
        training, test = split(training, seed)
    elif test.image_shape != training.image_shape or len(test) < FEWEST:
        found = f"{len(test)} images of {'×'.join(map(str, test.image_shape))}"
        expected = f"at least {FEWEST} of {'×'.join(map(str, training.image_shape))}"
        raise UserError(f"{name}: its test split has {found}, expected {expected}")
    elif training.labels is not None:
        test = replace(test, class_names=training.class_names)
    if training.labels is not None:
        assert test.labels is not None
        say(f"training the evaluator: {steps:,} updates on {len(training):,} images")
        network = evaluator.fit(
            training.images, training.labels, training.classes, steps=steps, seed=seed,
            progress=lambda step, loss: say(f"step {step:,} of {steps:,}: loss {loss:.3f}"),
        )  # fmt: skip
        about = AboutEvaluator(
            name=f"{_plain(name)}-cnn",
            image_shape=training.image_shape,
            class_names=training.class_names,
            trained=f"{steps} updates of 128 images of {name}'s training set, seed {seed}",
        )
        judge = evaluator.in_memory(about, network)
        right = evaluator.measure_accuracy(judge, test.images, test.labels)
        say(f"it names {right:.2%} of {len(test):,} held-out images rightly")
        judge = evaluator.in_memory(about.model_copy(update={"accuracy": right}), network)
    else:
        say("no labels: the evaluator is the fallback, a network with random weights")
        judge = fallback(training.image_shape)
    reference = compare_real(
        judge, training, test, name=name, source=source, seed=seed, learn=has_test, say=say
    )
    say("finding the nearest training image of held-out ones")
    held_out, copies = _held_out(whole, test if has_test else None)
    known = {"training_sha256": whole.sha256, "training_images": len(whole), "near_copies": copies}
    return replace(reference, about=reference.about.model_copy(update=known), held_out=held_out)


def compare_real(
    judge: Evaluator,
    training: Dataset,
    test: Dataset,
    *,
    name: str,
    source: str | None,
    sizes: Sequence[int] = SIZES,
    seed: int = 0,
    light: bool = False,
    learn: bool = False,
    say: Say = lambda _text: None,
) -> Reference:
    """Take the test images as reference, and measure the floors with the training images.

    ``light`` measures just what a run is watched by, ``learn`` also what a classifier learns.

    Raises:
        Alike: the test images are, so that nothing can be measured against them.
    """
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "reference")))
    kept = np.sort(rng.permutation(len(test))[:MOST])
    judged, others = judge.judge(test.images[kept]), judge.judge(training.images)
    unit = path.mean_squared_distance(judged.features)
    if not unit > 0:
        raise Alike(f"{name}: its images are all alike: nothing can be measured against them")
    fitting = [size for size in sizes if size <= len(training)] or [len(training)]
    reference = Reference(
        About(
            name=name,
            source=source,
            training_sha256=training.sha256,
            training_images=len(training),
            class_shares=() if judged.probabilities is None else _shares(test.labels, judge),
            pixels=profile(test.images),
            unit=unit,
            near_copies=None,
            sizes=tuple(fitting),
            floors={},
        ),
        judge,
        judged.features.astype(np.float16).astype(np.float64),  # as they come back from the file
        np.zeros(0),
    )
    floors: dict[str, list[float]] = {}
    for size in fitting:
        say(f"floors: {size:,} real images against {len(kept):,}")
        picks = [
            rng.permutation(len(training))[:size] for _ in range(1 if size == len(training) else REPEATS)
        ]
        found = [_floors(_rows(others, pick), reference, light) for pick in picks]
        if learn and training.labels is not None:
            pick = picks[0]
            accuracy = learn_from(training.images[pick], training.labels[pick], test)
            found[0]["train_on_synthetic"] = accuracy.value
        for metric in found[0]:
            floors.setdefault(metric, []).append(
                float(np.mean([one[metric] for one in found if metric in one]))
            )
    if "frechet_infinity" in floors:  # a limit does not depend on n: the largest set knows it best
        floors["frechet_infinity"] = floors["frechet_infinity"][-1:] * len(fitting)
    if judge.about.accuracy is not None:
        floors["label_agreement"] = [judge.about.accuracy] * len(fitting)
    known = {metric: tuple(values) for metric, values in floors.items()}
    return replace(reference, about=reference.about.model_copy(update={"floors": known}))


def fallback(image_shape: tuple[int, int, int]) -> Evaluator:
    """Return the evaluator for images without labels."""
    about = AboutEvaluator(
        name="random-cnn", image_shape=image_shape, trained="never: a fallback for images without labels"
    )
    return evaluator.in_memory(about, evaluator.untrained(image_shape))


def _floors(judged: Judged, reference: Reference, light: bool) -> dict[str, float]:
    found = (measure.compare_lightly if light else measure.compare)(judged, reference)
    return {name: estimate.value for name, estimate in found.items()}


def _rows(judged: Judged, picks: npt.NDArray[np.int64]) -> Judged:
    kept = None if judged.probabilities is None else judged.probabilities[picks]
    return Judged(judged.features[picks], kept)


def _shares(labels: npt.NDArray[np.int64] | None, judge: Evaluator) -> tuple[float, ...]:
    assert labels is not None
    return tuple(shares(labels, len(judge.about.class_names)))


def split(dataset: Dataset, seed: int, most: int = SIZES[-1]) -> tuple[Dataset, Dataset]:
    """Hold out a third at random, 10,000 images at most; return ``most`` of the others, and these.

    Both are copies in memory, which a large set as a whole may not fit into.
    """
    order = np.random.Generator(np.random.PCG64(seeds.derive(seed, "held out"))).permutation(len(dataset))
    cut = min(MOST, round(len(dataset) * HELD_OUT))

    def part(picks: npt.NDArray[np.int64]) -> Dataset:
        labels = None if dataset.labels is None else dataset.labels[picks]
        return replace(dataset, images=dataset.images[picks], labels=labels)

    return part(np.sort(order[cut : cut + most])), part(np.sort(order[:cut]))


def _held_out(training: Dataset, test: Dataset | None) -> tuple[npt.NDArray[np.float64], tuple[int, int]]:
    """Measure how near real images come to a training image that is not themselves."""
    flat = training.images.reshape(len(training), -1)
    if test is not None:
        held_out = test.images[memory.some_of(test.images, MOST)]
        distances, ratio, _ = memory.nearest(held_out.reshape(-1, flat.shape[1]), flat)
    else:
        some = memory.some_of(flat, MOST)
        distances, ratio, _ = memory.nearest(flat[some], flat, own=some)
    return distances, (int(memory.near_copies(ratio).sum()), len(distances))


def _plain(name: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name.lower())
    return kept.strip("-._")[:48] or "own"
