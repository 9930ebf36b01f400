"""Files that are either written whole or not at all, whose they are, and where they may be kept."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import IO

from mulligan.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, meets the old one or the new one.

    The bytes go to a temporary file in the same folder, reach the disk, and take the name.

    Raises:
        OSError: the disk is full or cannot be written; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write a value as readable JSON, atomically; NaN and infinity are not JSON and are refused."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def try_lock(file: IO[str], *, wait: bool = False) -> bool:
    """Keep an open file to this process until it is closed or the process ends, however it does.

    Platforms without such locks do without.

    Returns:
        False if another process has it, and this one is not to ``wait`` for it.

    Raises:
        OSError: it cannot be locked.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    return True


def user_cache() -> Path:
    """Return this package's folder in the user's cache directory; it need not exist.

    Raises:
        UserError: no home directory is known.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "mulligan"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "mulligan"
    try:
        home = Path.home()
    except RuntimeError:
        raise UserError("you have no home directory: set XDG_CACHE_HOME to where files may be kept") from None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "mulligan"


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; platforms that cannot open a folder do without."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
