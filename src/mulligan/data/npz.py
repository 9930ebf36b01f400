"""NumPy archives of images and labels, read without trusting them."""

from __future__ import annotations

import copy
import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from mulligan.data.dataset import POINT
from mulligan.data.idx import MAX_BYTES, read_exactly
from mulligan.errors import UserError, first_line, nearest
from mulligan.files import write_atomically

MAX_CLASSES = 1000
_NPY_MAGIC = b"\x93NUMPY\x01\x00"


def read_npz(path: str | Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64] | None]:
    """Read images or points and, where there are any, their labels from an ``.npz`` archive.

    Key ``images`` is uint8 ``[N, H, W]``, ``[N, C, H, W]`` or ``[N, H, W, C]`` with C 1 or 3
    (where both axes could be C, the first is), or, of points in a plane, float32 ``[N, 2, 1, 1]``;
    key ``labels``, optional, is an integer ``[N]``, values 0..K-1 with K at most 1000. Nothing is
    ever unpickled.

    Returns:
        Images, uint8 ``[N, C, H, W]``, values 0..255, or points as they are; and labels, int64
        ``[N]``, or None.

    Raises:
        UserError: the file is not such an archive, is damaged, or declares more than 4 GiB.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, over headers that Python 2 wrote
            keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            if "images" not in keys:
                raise UserError(f"{path}: has no key 'images'{nearest('images', keys)}")
            images = _as_nchw(_read_array(archive, "images", path), path)
            labels = _as_labels(_read_array(archive, "labels", path), path) if "labels" in keys else None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:
        # The zip and npy parsers raise a dozen kinds of exception over hostile bytes.
        raise UserError(f"{path}: not an .npz archive, or a damaged one: {first_line(error)}") from None
    if labels is not None and len(labels) != len(images):
        raise UserError(f"{path}: {len(labels)} labels for {len(images)} images")
    return images, labels


def write_npz(
    path: str | Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer] | None = None
) -> None:
    """Write images, uint8 ``[N, C, H, W]``, and labels, integer ``[N]``, for `read_npz`, or nothing at all.

    Raises:
        UserError: the file cannot be written.
    """
    arrays = {"images": images} if labels is None else {"images": images, "labels": labels}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    try:
        write_atomically(Path(path), packed.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def _read_array(archive: zipfile.ZipFile, key: str, path: Path) -> npt.NDArray[np.generic]:
    """Read one member, whose header, sizes and type are checked before its values are read."""
    member = archive.getinfo(f"{key}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{path}: {key!r} is compressed in a way NumPy does not write")
    # zipfile quietly drops what exceeds the declared size, so it is given a larger one.
    probe = copy.copy(member)
    probe.file_size += 1 << 20
    with archive.open(probe) as opened:
        file = cast(BinaryIO, opened)
        header = file.read(10)
        if header[:8] != _NPY_MAGIC or len(header) < 10:
            raise UserError(f"{path}: {key!r} is not an array in npy format 1.0, the one NumPy writes")
        header += file.read(int.from_bytes(header[8:10], "little"))
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
        _check_type(key, shape, dtype, path)
        size = math.prod(shape) * dtype.itemsize
        if size > MAX_BYTES:
            raise UserError(f"{path}: {key!r} declares {size} bytes, more than {MAX_BYTES >> 30} GiB")
        if len(header) + size != member.file_size:
            raise UserError(
                f"{path}: {key!r} declares {dtype} {list(shape)}, {size} bytes, "
                f"but the archive holds {member.file_size - len(header)}"
            )
        values = read_exactly(file, size)
        if len(values) < size:
            raise UserError(f"{path}: {key!r} is cut short: {len(values)} bytes of {size}")
        if file.read(1):
            raise UserError(f"{path}: {key!r} unpacks to more than the {size} bytes it declares")
    flat = np.frombuffer(values, dtype)
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def _check_type(key: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], path: Path) -> None:
    if key == "images" and dtype == np.float32 and shape[1:] == POINT:
        return  # points in a plane
    if key == "images" and dtype != np.uint8:
        hint = ": multiply by 255 and cast" if dtype.kind == "f" else ""
        raise UserError(f"{path}: 'images': expected uint8 0..255, got {dtype}{hint}")
    if key == "labels" and dtype.kind not in "iu":
        raise UserError(f"{path}: 'labels': expected integers, got {dtype}")
    if len(shape) not in ((3, 4) if key == "images" else (1,)) or min(shape) < 1:
        expected = "[N, H, W], [N, C, H, W] or [N, H, W, C]" if key == "images" else "[N]"
        raise UserError(f"{path}: {key!r}: expected shape {expected}, got {list(shape)}")


def _as_nchw(images: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.uint8]:
    if images.dtype == np.float32:
        if not np.isfinite(images).all():
            raise UserError(f"{path}: 'images': expected finite coordinates of points")
        return np.ascontiguousarray(images)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3):
        if images.shape[3] not in (1, 3):
            raise UserError(f"{path}: 'images': expected 1 or 3 channels, got shape {list(images.shape)}")
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images, np.uint8)


def _as_labels(labels: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int64]:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise UserError(f"{path}: 'labels': expected 0..K-1 with K at most {MAX_CLASSES}, got {low}..{high}")
    return labels.astype(np.int64)
