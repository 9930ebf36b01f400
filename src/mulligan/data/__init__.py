"""Where images come from: named sets, the digits in the package, folders and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mulligan.data import synthetic
from mulligan.data.dataset import Dataset
from mulligan.data.digits import read_digits
from mulligan.data.download import Progress, reachable
from mulligan.data.folder import read_folder
from mulligan.data.idx import read_idx_pair
from mulligan.data.named import FILES, NAMED, fetch, find_file, folders, load_named, locate, verify
from mulligan.data.npz import read_npz, write_npz
from mulligan.data.resize import resize_images
from mulligan.errors import UserError, first_line, nearest, similar

__all__ = ["DATASETS", "Dataset", "fetch", "load", "locate", "read_digits", "resized", "verify", "write_npz"]

DATASETS: dict[str, str] = {name: known.description for name, known in NAMED.items()} | {
    "mnist-synth": "28×28 digits, 10 classes; drawn by the generator in the package, looks like mnist",
    "digits": "handwritten digits, 8×8 enlarged, 10 classes; comes with the package",
    "ring-8": "8 Gaussians on a circle in the plane; made when asked for",
    "grid-25": "25 Gaussians on a square grid in the plane; made when asked for",
    "stacked-mnist": "3 random digits of mnist as colours, 1,000 classes; made when asked for",
}
"""Name of each set to its one-line description."""

SPLITS = ("train", "test")
USUAL_SIZE = 28  # pixels a side, of sets that have no size of their own
_AUTO_SECONDS = 4.0


def load(
    source: str,
    *,
    size: int | None = None,
    default_size: int | None = USUAL_SIZE,
    split: str = "train",
    fetch_missing: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """Load a set of images by its name or its path.

    Args:
        source: ``mnist``, ``fashion-mnist``, ``kmnist``, ``mnist-synth``, ``digits``, ``ring-8``,
            ``grid-25``, ``stacked-mnist``; ``auto``, which is mnist if it is here or can be fetched,
            else mnist-synth; or a path: a folder of images, a folder of IDX files named as MNIST's
            are, or an ``.npz`` file. A name goes before a path; ``./mnist`` is always a path.
        size: Height and width to bring the images to, 1..1024 pixels; None keeps the set's own.
        default_size: The size where `size` is None and the set has none: folders and digits. None
            leaves a folder's images as they are, if they are squares of one size.
        split: ``train`` or ``test``, which only the IDX sets and mnist-synth have.
        fetch_missing: Whether a named set that is not here is fetched.
        progress: Called with (done, in all or None): bytes of a fetch, or images of a folder or a drawing.

    Raises:
        UserError: there is no such set or split, or it cannot be read or fetched.
    """
    if split not in SPLITS:
        raise UserError(f"split {split!r} is not known{nearest(split, SPLITS)}")
    if not source.strip():
        raise UserError("--data: is empty: expected the name of a set, a folder or an .npz file")
    if source == "auto":
        data = _load_auto(split, fetch_missing, progress)
    elif source in NAMED:
        data = _load_named(source, split, fetch_missing, progress)
    elif source == "mnist-synth":
        data = _draw_synth(split, progress)
    elif source == "digits":
        _only_train(source, split)
        data = read_digits(size or default_size or USUAL_SIZE)
    elif source in synthetic.PLANES:
        _only_train(source, split)
        points, labels = synthetic.PLANES[source].draw()
        data = Dataset(source, points, labels)  # type: ignore[arg-type]  # floats, not pixels
    elif source == "stacked-mnist":
        digits = _load_named("mnist", split, fetch_missing, progress)
        assert digits.labels is not None
        images, labels = synthetic.stacked(digits.images, digits.labels)
        data = Dataset(source, images, labels, tuple(f"{i:03d}" for i in range(1000)))
    else:
        data = _load_path(source, size or default_size, split, progress)
    return resized(data, size)


def has_test(source: str) -> bool:
    """Does a set have a ``test`` split?"""
    if source in DATASETS:
        return source in NAMED or source in ("mnist-synth", "stacked-mnist")
    path = Path(source).expanduser()
    return path.is_dir() and all(find_file(path, file) for file in FILES[2:])


def resized(dataset: Dataset, size: int | None) -> Dataset:
    """Bring a set's images to size × size pixels; with None it is returned as it is.

    Raises:
        UserError: the size is out of range, or these are points.
    """
    if size is None:
        return dataset
    if dataset.images.dtype != np.uint8:
        raise UserError(f"{dataset.name} is made of points in a plane, which have no size")
    if dataset.image_shape[1:] == (size, size):
        return dataset
    return replace(dataset, images=resize_images(dataset.images, size))


def _load_named(
    name: str, split: str, fetch_missing: bool, progress: Progress | None, seconds: float | None = None
) -> Dataset:
    folder = locate(name)
    if folder is None and fetch_missing:
        if seconds is None:
            folder = fetch(name, progress=progress)
        else:
            folder = fetch(name, progress=progress, timeout=seconds, retries=0)
    if folder is None:
        looked = ", ".join(map(str, folders(name)))
        raise UserError(f"{name} is not here (looked in {looked}); `mulligan data fetch {name}` gets it")
    return load_named(name, folder, "train" if split == "train" else "test")


def _draw_synth(split: str, progress: Progress | None) -> Dataset:
    from mulligan.data.synth import read_synth  # brings torch, which no other set needs

    return read_synth(split, progress)


def _load_auto(split: str, fetch_missing: bool, progress: Progress | None) -> Dataset:
    """Load mnist, or mnist-synth if it is neither here nor to be had within seconds."""
    if locate("mnist") is not None:
        return replace(_load_named("mnist", split, False, progress), note="auto chose mnist, which is here.")
    reason = "fetching is off"
    if fetch_missing:
        reason = "no mirror of it answers"
        if reachable([f"{base}{FILES[0]}.gz" for base in NAMED["mnist"].mirrors], _AUTO_SECONDS):
            try:
                data = _load_named("mnist", split, True, progress, _AUTO_SECONDS)
                return replace(data, note="auto chose mnist, and fetched it.")
            except UserError:
                reason = "fetching it failed"
    note = (
        f"MNIST is not here and {reason}, so auto chose mnist-synth: digits that the generator in the "
        "package drew (`mulligan data fetch mnist` gets MNIST)."
    )
    return replace(_draw_synth(split, progress), note=note)


def _load_path(source: str, size: int | None, split: str, progress: Progress | None) -> Dataset:
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:  # of nobody's home directory
        raise UserError(f"{source}: {first_line(error)}") from None
    if path.is_dir():
        if any(find_file(path, file) for file in FILES):
            return Dataset(source, *_read_idx_folder(path, split))
        _only_train(source, split)
        return read_folder(path, size, progress, source)
    if path.suffix.lower() == ".npz" and path.is_file():
        _only_train(source, split)
        return Dataset(source, *read_npz(path))
    if path.exists():
        raise UserError(f"{source}: expected a folder or an .npz file")
    sets = ["auto", *DATASETS]
    hint = similar(path, sets) or nearest(source, sets)
    raise UserError(f"{source!r} is neither a set nor a path that exists{hint}")


def _read_idx_folder(path: Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    names = FILES[:2] if split == "train" else FILES[2:]
    images, labels = (find_file(path, name) for name in names)
    if images is None or labels is None:
        missing = names[0] if images is None else names[1]
        raise UserError(f"{path}: has no {missing}.gz or {missing}, which the {split} split wants")
    return read_idx_pair(images, labels)


def _only_train(source: str, split: str) -> None:
    if split != "train":
        raise UserError(f"{source} has no {split!r} split (only 'train')")
