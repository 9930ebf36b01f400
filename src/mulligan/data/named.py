"""The named sets: MNIST and the two made after it, found, fetched, checked and read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mulligan.data.dataset import Dataset
from mulligan.data.download import Progress, download
from mulligan.data.idx import GZIP_MAGIC, idx_bytes, read_idx
from mulligan.errors import UserError, nearest
from mulligan.files import user_cache

Status = Literal["ok", "not checkable", "damaged", "missing"]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class NamedSet:
    """What is known of a named set.

    Attributes:
        description: One line for the user.
        mirrors: Addresses of folders that hold the four files as ``NAME.gz``.
        digests: One per file of `FILES`, in hexadecimal.
        digest_of: ``content``: SHA-256 of the decompressed file; ``gzip``: MD5 of the gzip file,
            the only one its authors publish.
        class_names: In the order of the labels.
        download_bytes: Size of the four files as the mirrors have them, for a progress bar.
    """

    description: str
    mirrors: tuple[str, ...]
    digests: tuple[str, str, str, str]
    digest_of: Literal["content", "gzip"]
    class_names: tuple[str, ...]
    download_bytes: int


NAMED = {
    "mnist": NamedSet(
        description="handwritten digits, 28×28 grey, 10 classes",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        digests=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        digest_of="content",
        class_names=tuple("0123456789"),
        download_bytes=11_594_722,
    ),
    "fashion-mnist": NamedSet(
        description="articles of clothing, 28×28 grey, 10 classes",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        digests=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        digest_of="gzip",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        download_bytes=30_878_645,
    ),
    "kmnist": NamedSet(
        description="cursive Japanese characters (Kuzushiji), 28×28 grey, 10 classes",
        mirrors=(
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        digests=(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        digest_of="gzip",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        download_bytes=21_240_888,
    ),
}


def folders(name: str) -> list[Path]:
    """Return where a named set is looked for, in order: ``$MULLIGAN_DATA/NAME``, the user's cache."""
    own = os.environ.get("MULLIGAN_DATA")
    try:
        known = [Path(own).expanduser() / name] if own else []
    except RuntimeError:  # a home directory of nobody
        raise UserError(f"MULLIGAN_DATA: {own} is no folder's name") from None
    return [*known, user_cache() / name]


def find_file(folder: Path, file: str) -> Path | None:
    """Return the path of one of the four IDX files, ``FILE.gz`` or ``FILE``, or None."""
    return next((path for path in (folder / f"{file}.gz", folder / file) if path.is_file()), None)


def locate(name: str) -> Path | None:
    """Return the first folder that holds all four files of a named set, or None."""
    _named(name)
    return next((f for f in folders(name) if all(find_file(f, file) for file in FILES)), None)


def fetch(
    name: str,
    *,
    progress: Progress | None = None,
    mirrors: Sequence[str] | None = None,
    to: Path | None = None,
    timeout: float = 20,
    retries: int = 2,
) -> Path:
    """Fetch those files of a named set that are not here, or are damaged, and check each.

    They go where the set lies already, else to ``$MULLIGAN_DATA/NAME`` if that can be written,
    else to the user's cache.

    Args:
        name: ``mnist``, ``fashion-mnist`` or ``kmnist``.
        progress: Called with (bytes fetched, bytes in all, by the size the set is known to have).
        mirrors: Addresses of folders to fetch from, in place of the set's own.
        to: The folder to hold the files, in place of the above.
        timeout: As in `download`.
        retries: As in `download`.

    Returns:
        The folder that now holds all four.

    Raises:
        UserError: the name is not known, no mirror gave a file, or it cannot be written.
    """
    known = _named(name)
    folder = to or locate(name) or _home(name)
    bases = [base.rstrip("/") for base in mirrors or known.mirrors]
    fetched = 0

    def so_far(done: int, _: int | None) -> None:
        if progress:
            progress(fetched + done, known.download_bytes)

    for i, file in enumerate(FILES):
        found = find_file(folder, file)
        if found and _status(known, i, found)[0] in ("ok", "not checkable"):
            continue
        target = folder / f"{file}.gz"
        download(
            [f"{base}/{target.name}" for base in bases],
            target,
            check=partial(_read, known, i),
            max_bytes=MAX_FILE_BYTES,
            timeout=timeout,
            retries=retries,
            progress=so_far,
            instead=f"put the files of {name} into {' or '.join(map(str, folders(name)))}, "
            "or use --data mnist-synth, which needs no network",
        )
        fetched += target.stat().st_size
    return folder


def verify(name: str) -> list[tuple[str, Status, str]]:
    """Return (file, status, detail) for each of the four files of a named set.

    A file is ``not checkable`` where it can be read and has the right shape, but is raw while
    the only known checksum is that of its gzip file.
    """
    known = _named(name)
    folder = locate(name) or next((f for f in folders(name) if f.is_dir()), _home(name))
    report: list[tuple[str, Status, str]] = []
    for i, file in enumerate(FILES):
        path = find_file(folder, file)
        status, detail = _status(known, i, path) if path else ("missing", f"not in {folder}")
        report.append((path.name if path else f"{file}.gz", status, detail))
    return report


def load_named(name: str, folder: Path, split: Literal["train", "test"]) -> Dataset:
    """Read a split of a named set, 60,000 or 10,000 images of 28×28, from the folder that holds it.

    Raises:
        UserError: a file is not the one it should be; the message says what mends it.
    """
    known = _named(name)
    first = 0 if split == "train" else 2
    paths = [find_file(folder, file) or folder / f"{file}.gz" for file in FILES]
    try:
        images, labels = (_read(known, i, paths[i])[0] for i in (first, first + 1))
        if labels.max() >= len(known.class_names):
            raise UserError(f"{paths[first + 1]}: has label {labels.max()}, expected 0..9")
    except UserError as error:
        raise UserError(f"{error}; `mulligan data fetch {name}` mends it") from None
    return Dataset(
        name,
        images[:, None],
        labels.astype(np.int64),
        known.class_names,
        has_validation_head=split == "train",
    )


def _named(name: str) -> NamedSet:
    if name not in NAMED:
        raise UserError(f"{name!r} is not a named set{nearest(name, NAMED)}")
    return NAMED[name]


def _home(name: str) -> Path:
    """Return the folder new files go to: the first whose nearest existing parent can be written."""
    for folder in folders(name):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if os.access(existing, os.W_OK):
            return folder
    return folders(name)[-1]


def _status(known: NamedSet, i: int, path: Path) -> tuple[Status, str]:
    try:
        _, checked = _read(known, i, path)
    except UserError as error:
        return "damaged", str(error)
    if not checked:
        return "not checkable", f"{path}: raw, while the known checksum is the gzip file's"
    return "ok", str(path)


def _read(known: NamedSet, i: int, path: Path) -> tuple[npt.NDArray[np.uint8], bool]:
    """Read file `i` of a set, and say whether its checksum could be tested; a wrong one is a UserError."""
    array = read_idx(path)
    if array.shape != SHAPES[i]:
        raise UserError(f"{path}: expected shape {list(SHAPES[i])}, got {list(array.shape)}")
    if known.digest_of == "content":
        digest = hashlib.sha256(idx_bytes(array)).hexdigest()
    else:
        with path.open("rb") as file:
            if file.read(2) != GZIP_MAGIC:
                return array, False
            file.seek(0)
            digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if digest != known.digests[i]:
        raise UserError(f"{path}: damaged: its checksum is {digest[:12]}…, expected {known.digests[i][:12]}…")
    return array, True
