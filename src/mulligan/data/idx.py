"""IDX files: the format of MNIST and of the sets made after it, read and written."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from mulligan.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 4 << 30
_PIECE = 1 << 20
_UINT8 = 0x08


def read_idx(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read an IDX file of uint8 values, gzip or raw (told apart by its first bytes).

    The file is not trusted: memory grows with the bytes that are there, not with those the
    header promises, and no more is decompressed than the header declares.

    Returns:
        uint8 ``[N]`` (IDX1, labels) or ``[N, H, W]`` (IDX3, images), values 0..255.

    Raises:
        UserError: the file cannot be read, is not IDX1 or IDX3 of uint8, declares nothing or
            more than 4 GiB, or holds fewer or more bytes than it declares.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if not packed:
                return _read(raw, path)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(cast(BinaryIO, unpacked), path)
    except EOFError:
        raise UserError(f"{path}: the gzip file is cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_idx_pair(
    images: str | Path, labels: str | Path
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read an IDX3 file of images and the IDX1 file of their labels.

    Returns:
        Images, uint8 ``[N, 1, H, W]``, and labels, int64 ``[N]``, values 0..255.

    Raises:
        UserError: as `read_idx`, and where the two are not images and labels of one count.
    """
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3:
        raise UserError(f"{images}: expected images (IDX3), got labels (IDX1)")
    if classes.ndim != 1:
        raise UserError(f"{labels}: expected labels (IDX1), got images (IDX3)")
    if len(pixels) != len(classes):
        raise UserError(f"{labels}: {len(classes)} labels for the {len(pixels)} images of {images}")
    return pixels[:, None], classes.astype(np.int64)


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """Return a uint8 array as the bytes of a raw IDX file; the inverse of `read_idx`."""
    header = struct.pack(f">HBB{array.ndim}I", 0, _UINT8, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array).tobytes()


def _read(file: BinaryIO, path: Path) -> npt.NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(f"{path}: not an IDX file: it begins with {magic.hex() or 'nothing'}, expected 0000")
    if magic[2] != _UINT8:
        raise UserError(f"{path}: IDX type 0x{magic[2]:02x}, expected 0x08 (uint8)")
    if magic[3] not in (1, 3):
        raise UserError(f"{path}: IDX of {magic[3]} dimensions, expected 1 (labels) or 3 (images)")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise UserError(f"{path}: cut short within its header")
    shape = struct.unpack(f">{magic[3]}I", header)
    size = math.prod(shape)
    declared = "×".join(map(str, shape))
    if size == 0:
        raise UserError(f"{path}: declares {declared} values, expected at least one")
    if size > MAX_BYTES:
        raise UserError(f"{path}: declares {declared} values, more than {MAX_BYTES >> 30} GiB")
    values = read_exactly(file, size)
    if len(values) < size:
        raise UserError(f"{path}: cut short: {len(values)} values, its header declares {declared} = {size}")
    if file.read(1):
        raise UserError(f"{path}: has more than the {declared} = {size} values its header declares")
    return np.frombuffer(values, np.uint8).reshape(shape)


def read_exactly(file: BinaryIO, size: int) -> bytearray:
    """Read up to `size` bytes in pieces, so that a false `size` allocates nothing."""
    values = bytearray()
    while len(values) < size and (piece := file.read(min(_PIECE, size - len(values)))):
        values += piece
    return values
