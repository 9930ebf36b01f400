from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from mulligan.files import write_atomically, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"", b"short", bytes(range(256)) * 40_000])
@pytest.mark.parametrize("old", [None, b"old" * 1_000_000])
def test_the_new_file_is_whole_and_alone(tmp_path: Path, data: bytes, old: bytes | None) -> None:
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    write_atomically(path, data)
    assert path.read_bytes() == data
    assert names(tmp_path) == ["file.bin"]


def full_disk(_handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(_handle: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fsync", "error"), [(full_disk, OSError), (interrupted, KeyboardInterrupt)])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_midway_leaves_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fsync: object,
    error: type[BaseException],
    old: bytes | None,
) -> None:
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(error) as raised:
            write_atomically(path, b"new")
    assert getattr(raised.value, "errno", errno.ENOSPC) == errno.ENOSPC
    assert names(tmp_path) == ([] if old is None else ["file.bin"])
    assert old is None or path.read_bytes() == old
    write_atomically(path, b"new")  # and the next attempt is not in its way
    assert path.read_bytes() == b"new"


def test_the_bytes_reach_the_disk_before_they_take_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    seen: list[bytes] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        seen.append(path.read_bytes())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new")
    assert seen[0] == b"old"


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file.bin", b"new")
    assert names(tmp_path) == []


def test_json_is_readable_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": [1, 2.5, None], "b": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1, 2.5, None], "b": "ü"}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["b"] == "ü"
    assert names(tmp_path) == ["file.json"]
