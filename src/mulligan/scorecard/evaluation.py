"""From a source to its scorecard."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mulligan import data as data_room
from mulligan import distributed, hardware
from mulligan.checkpoint import AboutData
from mulligan.data.dataset import POINT, Dataset
from mulligan.data.synthetic import PLANES
from mulligan.distributed import Group
from mulligan.errors import Place, UserError, place
from mulligan.evaluator import Judged
from mulligan.metrics import memory, path
from mulligan.metrics.estimate import NORMAL, Estimate, wilson
from mulligan.model import Model
from mulligan.scorecard import measure, toys, warnings
from mulligan.scorecard.card import Metric, NearCopies, Scorecard
from mulligan.scorecard.inception import inception_distances
from mulligan.scorecard.reference import SHIPPED, STANDS_FOR, Reference, find, profile
from mulligan.scorecard.source import Samples, as_shape, read
from mulligan.scorecard.transfer import learn_from

WALKS, STOPS = 64, 17  # latent walks, and images on each
SHOWN = 8  # pairs in the picture of nearest neighbours


def evaluate(
    source: Place,
    *,
    reference: Place | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    thorough: bool = True,
) -> Scorecard:
    """Judge a generator's images, or any others, against real ones.

    Args:
        source: A run directory, a checkpoint, a folder of images, an ``.npz`` file, or a set's name.
        reference: ``mnist``, ``ring-8``, ``grid-25``, ``stacked-mnist``, or a folder that
            ``mulligan reference`` made; None takes what the source was trained on.
        n: How many images; 10,000 of a generator without it, and all of a folder or file.
        seed: Of the generator's images.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        thorough: Whether to train a classifier on the images as well, the slowest row.

    Raises:
        UserError: there is no such source or reference, or they do not fit each other.
    """
    source = place(source, "source")
    own = hardware.device(device)
    group = distributed.join(own)
    where = str(group.device if group else own)
    samples, wanted, found = _drawn(source, reference, n, seed, device, group)
    if wanted in PLANES:
        return toys.judge_points(samples, wanted)
    if found is None:
        return toys.judge_stacked(samples, find("mnist").evaluator, where)
    return judge(samples, found, source, seed=seed, device=where, thorough=thorough, group=group)


def assist(
    source: str | Path,
    *,
    reference: str | Path | None = None,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Take a share of an ``evaluate`` with the same arguments in the first of ``torchrun``'s processes."""
    group = distributed.join(hardware.device(device))
    assert group
    samples, _, found = _drawn(source, reference, n, seed, device, group)
    if found:
        images = as_shape(samples.images, found.evaluator.about.image_shape, source)
        found.evaluator.judge(images, group.device, group)


def _drawn(
    source: str | Path,
    reference: Place | None,
    n: int | None,
    seed: int,
    device: str,
    group: Group | None,
) -> tuple[Samples, str, Reference | None]:
    """Return the images, what they are judged by, and that reference unless it is a toy."""
    wanted = None if reference is None else place(reference, "reference")
    found = None if wanted is None else _found(wanted)  # refused before anything is drawn
    samples = read(source, n, seed, device, group)
    wanted = wanted or _chosen(samples, source)
    return samples, wanted, found or _found(wanted)


def _found(wanted: str) -> Reference | None:
    return None if _is_toy(wanted) else find(wanted)


def judge(
    samples: Samples,
    reference: Reference,
    source: str | Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    thorough: bool = True,
    group: Group | None = None,
) -> Scorecard:
    """Fill in a whole card; rows that need images that are not here say so.

    Without ``thorough`` no classifier is trained on the images.

    Raises:
        UserError: the images do not fit the reference.
    """
    if samples.are_points:
        raise UserError(f"{source}: points in a plane: use --reference ring-8 or grid-25")
    images = as_shape(samples.images, reference.evaluator.about.image_shape, source)
    judged = reference.evaluator.judge(images, device, group)
    found = measure.compare(judged, reference, seed)
    absent: dict[str, str] = {}
    copies = None
    if samples.model and samples.data in STANDS_FOR:
        absent["memorisation"] = f"trained on {samples.data}, not on the images of this reference"
    else:
        copies = _remember(images, reference, found, absent)
    asked = _asked_labels(samples, judged, reference.evaluator.about.class_names, found, absent)
    if thorough:
        _train_on(images, asked, reference, found, absent)
    _walk(samples.model, reference, found, absent, seed, device)
    floors = {"memorisation": 0.5, "path_length": 1.0}
    metrics = {
        name: Metric.of(estimate, floors.get(name, reference.floor(name, len(images))))
        for name, estimate in found.items()
    }
    histogram, missing = measure.missing(judged, reference)
    about = reference.evaluator.about
    card = Scorecard(
        reference=reference.about.name,
        n=len(images),
        evaluator={"name": about.name, "version": about.version, "sha256": reference.evaluator.sha256},
        metrics=metrics,
        class_histogram=histogram,
        missing_classes=missing,
        class_names=list(about.class_names) if histogram else [],
        near_copies=copies,
        absent=absent,
    )
    found_wrong = warnings.of_all(card, profile(images), reference, measure.repeated(images))
    return replace(card, warnings=found_wrong)


def neighbours(
    source: str | Path, reference: str | Path, n: int | None = None, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Return the images closest to a training image, each followed by it: uint8 ``[2·8, C, H, W]``."""
    if _is_toy(str(reference)):
        raise UserError(f"--neighbours: there are none to show by --reference {reference}")
    samples, known = read(source, n, seed), find(reference)
    images = as_shape(samples.images, known.evaluator.about.image_shape, source)
    training = known.training.images
    _, ratio, index = memory.nearest(images.reshape(len(images), -1), training.reshape(len(training), -1))
    closest = np.argsort(ratio, kind="stable")[:SHOWN]
    pairs = np.stack([images[closest], training[index[closest]]], 1)
    return pairs.reshape(-1, *images.shape[1:])


def with_inception(
    card: Scorecard,
    source: str | Path,
    *,
    n: int | None = None,
    seed: int = 0,
    device: str = "auto",
    weights: str | None = None,
) -> Scorecard:
    """Add the distances by the Inception network, which need the reference's test images.

    Where the images, the package or its weights are not here, the card says so.
    """
    try:
        if card.reference not in SHIPPED:
            raise UserError(f"--inception: goes with --reference {SHIPPED[0]}, not {card.reference}")
        real = _test_images(find(card.reference)).images
        images = read(source, n, seed, device).images
        found = inception_distances(images, real, device=str(hardware.device(device)), weights=weights)
    except UserError as error:  # the rest of the card took its time
        return replace(card, absent={**card.absent, "inception_fid": str(error)})
    doubt = NORMAL * found["inception_kid_std"]
    fid, kid = found["inception_fid"], found["inception_kid"]
    rows = {
        "inception_fid": Metric(fid, fid, fid, None),  # the library gives no interval
        "inception_kid": Metric(kid, kid - doubt, kid + doubt, None),
    }
    return replace(card, metrics={**card.metrics, **rows})


TOYS = (*PLANES, toys.STACKED)  # judged by their modes


def _is_toy(name: str) -> bool:
    return name in TOYS


def suited(data: str, sha256: str, image_shape: tuple[int, int, int]) -> str:
    """Return the reference in the package for a set that a generator was trained on.

    Raises:
        UserError: there is none.
    """
    if _is_toy(data) or data in SHIPPED:
        return data
    if find("mnist").suits(data, sha256, image_shape):
        return "mnist"
    if image_shape == POINT:
        raise UserError(f"trained on {data}, points in a plane: --reference ring-8 or grid-25 judges such")
    raise UserError(
        f"trained on {data}: `{_making(data, image_shape)} --out FOLDER` makes what it can be judged by, "
        "--reference FOLDER; --reference mnist judges it as MNIST's digits"
    )


def check_suits(reference: str, image_shape: tuple[int, int, int]) -> None:
    """Refuse a reference by which images of that shape could not be judged.

    Raises:
        UserError: it is for others, or there is no such reference.
    """
    if _is_toy(reference):
        expected = (3, 28, 28) if reference == toys.STACKED else POINT
    else:
        expected = find(reference).evaluator.about.image_shape
    if image_shape != expected:
        own, other = ("×".join(map(str, shape)) for shape in (image_shape, expected))
        raise UserError(
            f"--reference {reference}: is for {other} (channels × height × width), the data is {own}"
        )


def how_to_judge(about: AboutData, run: str) -> list[str]:
    """Return the commands that judge a run's images by what it was trained on; none where nothing can."""
    try:
        suited(about.name, about.sha256, about.image_shape)
        return [f"mulligan evaluate {run}"]
    except UserError:
        if about.image_shape == POINT or about.source is None:
            return []
        made = f"{_making(about.source, about.image_shape)} --out reference"
        return [made, f"mulligan evaluate {run} --reference reference"]


def _making(data: str, image_shape: tuple[int, int, int]) -> str:
    """Return the command that makes a reference of a set, but for its ``--out``."""
    height, width = image_shape[1:]
    size = f" --size {height}" if height == width != data_room.USUAL_SIZE else ""
    return f"mulligan reference {shlex.quote(data)}{size}"


def _chosen(samples: Samples, source: str | Path) -> str:
    """Choose the reference: what a generator was trained on; for files, mnist."""
    if samples.model is None:
        return samples.data if _is_toy(samples.data) else "mnist"
    try:
        about = samples.model.about.data
        return suited(samples.data, about.sha256, about.image_shape)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _remember(
    images: npt.NDArray[np.uint8], reference: Reference, found: dict[str, Estimate], absent: dict[str, str]
) -> NearCopies | None:
    """Look for training images among the samples."""
    try:
        training = reference.training.images
    except UserError as error:
        absent["memorisation"] = str(error)
        return None
    if not len(reference.held_out):
        absent["memorisation"] = "the reference does not say how near held-out images lie"
        return None
    flat = images.reshape(len(images), -1)
    distances, ratio, _ = memory.nearest(flat, training.reshape(len(training), -1))
    found["memorisation"] = memory.closeness(distances, reference.held_out)
    count, of = reference.about.near_copies or (0, 1)
    return NearCopies(int(memory.near_copies(ratio).sum()), len(images), count / of, of)


def _asked_labels(
    samples: Samples,
    judged: Judged,
    known: Sequence[str],
    found: dict[str, Estimate],
    absent: dict[str, str],
) -> npt.NDArray[np.int64] | None:
    """Return which of the evaluator's classes each image was meant to be, or else what it takes it for."""
    if judged.probabilities is None:
        return None
    if samples.labels is None:
        return judged.labels
    count = int(samples.labels.max()) + 1
    names = samples.class_names or tuple(map(str, range(count)))
    if names == tuple(map(str, range(len(names)))):  # numbered, as files that name no classes are
        names = (*known[: len(names)], *names[len(known) :])
    if strange := [name for name in names if name not in known]:
        absent["label_agreement"] = f"the evaluator knows no class {strange[0]!r}"
        return judged.labels
    asked = np.array([known.index(name) for name in names])[samples.labels]
    found["label_agreement"] = wilson(int((judged.labels == asked).sum()), len(asked))
    return asked


def _train_on(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64] | None,
    reference: Reference,
    found: dict[str, Estimate],
    absent: dict[str, str],
) -> None:
    """Measure what a classifier can learn from the images."""
    if labels is None:
        absent["train_on_synthetic"] = "the evaluator knows no classes"
        return
    try:
        test = replace(_test_images(reference), class_names=reference.evaluator.about.class_names)
    except UserError as error:
        absent["train_on_synthetic"] = str(error)
        return
    found["train_on_synthetic"] = learn_from(images, labels, test)


def _test_images(reference: Reference) -> Dataset:
    """Load real images that no generator was trained on."""
    source = reference.training.name  # refuses a set that has changed
    return data_room.load(source, split="test", fetch_missing=False)


def _walk(
    model: Model | None,
    reference: Reference,
    found: dict[str, Estimate],
    absent: dict[str, str],
    seed: int,
    device: str,
) -> None:
    """Measure how straight the way from one image to another is."""
    if model is None:
        absent["path_length"] = "files have no latents to walk between"
        return
    drawn = model.sampler.walks(WALKS, STOPS, seed)
    features = reference.evaluator.judge(drawn.reshape(-1, *drawn.shape[2:]), device).features
    found["path_length"] = path.path_length(features.reshape(WALKS, STOPS, -1), reference.about.unit)
