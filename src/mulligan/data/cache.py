"""Decoded images kept in a file and mapped from there: for folders better not held in memory."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from mulligan.data.dataset import digest
from mulligan.data.resize import MAX_SIZE
from mulligan.errors import UserError
from mulligan.files import try_lock, user_cache, write_json

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int, int, int]

SCHEMA = 1  # raised whenever a file written before must not be read: its layout, or how images are decoded
MAX_BYTES = 64 << 30
CHUNK_BYTES = 16 << 20  # pixels between two records of what is done; a build that is killed loses no more
RECORD_BYTES = 1 << 16
WAIT_SECONDS = 0.2
# Else Linux refuses a private mapping larger than memory, though nothing is ever written to it.
# Python has had the name since 3.13.
_LINUX = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000 if _LINUX else 0)


@dataclass(frozen=True)
class Record:
    """What is in a file of pixels.

    Attributes:
        shape: (N, C, S, S) of the whole set.
        done: Images that have reached the disk.
        sha256: The `digest` of the images and labels once they are complete; None before.
    """

    shape: Shape
    done: int
    sha256: str | None


class Cache:
    """The decoded images of one folder at one size: a file of pixels and a record of what is in it.

    Both lie in ``mulligan/decoded`` of the user's cache directory, may be deleted at any time, and
    are trusted no more than any other file. They are of use as long as no image has been added,
    removed, renamed or changed, by its size or its time, since they were begun.

    Args:
        root: The folder.
        files: Its images, in the order of the set; their place under ``root`` decides the labels.
        size: Height and width asked for; None for the images' own.

    Raises:
        UserError: a file has gone.
    """

    def __init__(self, root: Path, files: Sequence[Path], size: int | None) -> None:
        self._root, self._files, self._size = root, files, size
        self._folder = user_cache() / "decoded"
        name = hashlib.sha256(repr((str(root.resolve()), size)).encode()).hexdigest()[:32]
        self._pixels, self._about, self._lock = (
            self._folder / f"{name}.{kind}" for kind in ("pixels", "json", "lock")
        )
        # Taken before any image is read: what changes during a build no longer matches after it.
        self._fingerprint = _fingerprint(root, files, size)

    def record(self) -> Record | None:
        """Return what is there of these very images at this size, or None where nothing can be used."""
        try:
            with self._about.open("rb") as file:
                value = json.loads(file.read(RECORD_BYTES))
            stored = self._pixels.stat().st_size
        except (OSError, ValueError, RecursionError):
            return None
        match value:
            case {
                "fingerprint": self._fingerprint,
                "shape": [int(n), int(channels), int(height), int(width)],
                "done": int(done),
                "sha256": None | str() as sha256,
            }:
                pass
            case _:
                return None
        sound = (
            n == len(self._files)
            and channels in (1, 3)
            and 1 <= height == width <= MAX_SIZE
            and self._size in (None, width)
            and 0 <= done <= n
        )
        if not sound:
            return None
        shape = (n, channels, height, width)
        if sha256 is None:
            usable = stored >= done * math.prod(shape[1:])
        else:
            usable = done == n and stored == math.prod(shape) and bool(re.fullmatch("[0-9a-f]{64}", sha256))
        return Record(shape, done, sha256) if usable else None

    def images(
        self,
        shape: Shape,
        decode: Callable[[Path, Shape], Pixels],
        labels: npt.NDArray[np.int64] | None,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> tuple[Pixels, str]:
        """Return the images, uint8 ``[N, C, S, S]``, mapped from their file, and the set's `digest`.

        What is not there is decoded first, from where an earlier build was cut off. Of several
        processes one builds while the others wait for it.

        Args:
            shape: What to make, where nothing has been begun.
            decode: Reads one image, uint8 ``[C, S, S]``.
            labels: int64 ``[N]`` or None.
            progress: Called with (images decoded, images in all).

        Raises:
            UserError: an image cannot be read, or the disk is full or cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked(progress):
                record = self.record() or Record(shape, 0, None)
                if record.sha256 is None:
                    self._build(record, decode, progress)
                images = _mapped(self._pixels, record.shape)
                sha256 = record.sha256 or digest(images, labels)
                if record.sha256 is None:
                    self._write(Record(record.shape, len(images), sha256))
                return images, sha256
        except OSError as error:
            raise UserError(
                f"{self._folder}: the decoded images of {self._root} cannot be kept there: "
                f"{error.strerror or error}: make room, or point XDG_CACHE_HOME at another disk"
            ) from None

    def _build(
        self,
        record: Record,
        decode: Callable[[Path, Shape], Pixels],
        progress: Callable[[int, int | None], object] | None,
    ) -> None:
        """Decode what is missing; the record never claims an image that has not reached the disk."""
        n, row = len(self._files), math.prod(record.shape[1:])
        self._check_room(record)
        if not record.done:
            self._pixels.unlink(missing_ok=True)  # not overwritten: a run may be reading the old images
        self._write(record)
        step = max(1, CHUNK_BYTES // row)
        # Written, not mapped: on a full disk a write fails, while a mapping kills the process.
        with self._pixels.open("ab") as file:
            file.truncate(record.done * row)
            for start in range(record.done, n, step):
                stop = min(start + step, n)
                for i in range(start, stop):
                    file.write(decode(self._files[i], record.shape).tobytes())
                    if progress:
                        progress(i + 1, n)
                file.flush()
                os.fsync(file.fileno())
                self._write(Record(record.shape, stop, None))

    def _check_room(self, record: Record) -> None:
        """Refuse what is larger than any set should be, or than the disk."""
        whole = math.prod(record.shape)
        done = whole // record.shape[0] * record.done
        n, channels, side, _ = record.shape
        free = shutil.disk_usage(self._folder).free
        if whole > MAX_BYTES:
            limit, where = MAX_BYTES, "the most that is decoded"
        elif whole - done > free:
            limit, where = free + done, f"free in {self._folder}; XDG_CACHE_HOME names another disk"
        else:
            return
        fitting = math.isqrt(limit // (n * channels))
        raise UserError(
            f"{self._root}: {n:,} images of {side}×{side} take {_gib(whole)} decoded, more than the "
            f"{_gib(limit)} that are {where}: choose a size of at most {fitting}"
        )

    def _write(self, record: Record) -> None:
        about = {"folder": str(self._root.resolve()), "fingerprint": self._fingerprint, **asdict(record)}
        write_json(self._about, about)

    @contextmanager
    def _locked(self, progress: Callable[[int, int | None], object] | None) -> Iterator[None]:
        """Keep other processes out; while one of them builds, show how far it is."""
        with self._lock.open("a") as file:
            while not try_lock(file):
                if progress and (record := self.record()):
                    progress(record.done, record.shape[0])
                time.sleep(WAIT_SECONDS)
            yield


def _fingerprint(root: Path, files: Sequence[Path], size: int | None) -> str:
    """Hash all that the decoded images depend on, without opening a file."""
    found = hashlib.sha256(repr((SCHEMA, PIL.__version__, size)).encode())
    for file in files:
        try:
            stat = file.stat()
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror}") from None
        name = os.fsencode(file.relative_to(root))
        found.update(b"%s\0%d %d\n" % (name, stat.st_size, stat.st_mtime_ns))
    return found.hexdigest()


def _mapped(path: Path, shape: Shape) -> Pixels:
    """Map a file so that memory holds only what is being read, and the system may take it back.

    The mapping can be written to, which torch wants of an array, but never reaches the file.
    """
    if sys.platform == "win32":
        return np.memmap(path, np.uint8, "c", shape=shape)
    with path.open("rb") as file:
        flags, access = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        view = mmap.mmap(file.fileno(), math.prod(shape), flags=flags, prot=access)
    return np.frombuffer(view, np.uint8).reshape(shape)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
