"""Fetching a file from one of several mirrors: all of it, as it should be, or nothing."""

from __future__ import annotations

import http.client
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mulligan.errors import UserError

Progress = Callable[[int, int | None], None]

_PIECE = 1 << 16
_HEADERS = {"User-Agent": "mulligan"}


class _MirrorError(Exception):
    """Why a mirror did not give the file, and whether asking it again may help."""

    def __init__(self, reason: object, again: bool = False) -> None:
        super().__init__(" ".join(str(reason).split()))
        self.again = again


def download(
    urls: Sequence[str],
    target: Path,
    *,
    check: Callable[[Path], object],
    max_bytes: int,
    timeout: float = 20,
    retries: int = 2,
    progress: Progress | None = None,
    instead: str = "",
    backoff: float = 0.5,
) -> None:
    """Fetch a file over HTTP from the first mirror that gives it whole and right.

    The bytes go into a ``.part`` file beside the target, which takes the target's place in one
    step once `check` has passed; on any failure the target is as it was and the part is gone.

    Args:
        urls: The same file's address at each mirror, ``http`` or ``https``, tried in this order.
        target: Where the file goes; its folder is made if need be.
        check: Called with the part's path; raises UserError where that is not the right file.
        max_bytes: A mirror that sends more is given up.
        timeout: Seconds to connect in, and the longest silence of a connection.
        retries: How often a mirror is asked again after a fault that may pass, such as a timeout.
        progress: Called with (bytes so far, bytes in all or None where not known).
        instead: What the user can do if every mirror fails, the end of the message.
        backoff: Seconds before the first retry, doubled for each further one.

    Raises:
        UserError: no mirror gave the file (with each one's reason), or it cannot be written.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            for attempt in range(retries + 1):
                try:
                    with part.open("wb") as file:
                        _receive(url, file, max_bytes, timeout, progress)
                        file.flush()
                        os.fsync(file.fileno())
                    _accept(part, check)
                    os.replace(part, target)
                    return
                except _MirrorError as error:
                    if not error.again or attempt == retries:
                        reasons.append(f"{url}: {error}")
                        break
                    time.sleep(backoff * 2**attempt)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    raise UserError(f"{target.name} could not be fetched ({'; '.join(reasons)}){instead and f'; {instead}'}")


def reachable(urls: Sequence[str], seconds: float) -> bool:
    """Return whether one of the addresses offers its file within `seconds`.

    Each is asked in a thread of its own, as the look-up of a name has no timeout and a host's
    many addresses have one each: only a caller that does not wait keeps to its time.
    """
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask(url: str) -> None:
        try:
            with _answer(url, seconds, method="HEAD"):
                answers.put(True)
        except _MirrorError:
            answers.put(False)

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    deadline = time.monotonic() + seconds
    for _ in urls:
        try:
            if answers.get(timeout=max(0.0, deadline - time.monotonic())):
                return True
        except queue.Empty:
            break
    return False


def _receive(url: str, file: BinaryIO, max_bytes: int, timeout: float, progress: Progress | None) -> None:
    too_large = f"sends more than the {max_bytes} bytes that are taken"
    with _answer(url, timeout) as response:
        declared = response.getheader("Content-Length")
        total = int(declared) if declared and declared.isdecimal() and len(declared) < 20 else None
        if total is not None and total > max_bytes:
            raise _MirrorError(too_large)
        done = 0
        while piece := _read(response):
            done += len(piece)
            if done > max_bytes:
                raise _MirrorError(too_large)
            file.write(piece)
            if progress:
                progress(done, total)
    if total is not None and done < total:
        raise _MirrorError(f"ended after {done} of {total} bytes", again=True)


def _accept(part: Path, check: Callable[[Path], object]) -> None:
    try:
        check(part)
    except UserError as error:
        # The user never sees the part's name, only the mirror that sent it.
        raise _MirrorError(f"sends a wrong file: {str(error).removeprefix(f'{part}: ')}") from None


@contextmanager
def _answer(url: str, timeout: float, method: str = "GET") -> Iterator[http.client.HTTPResponse]:
    if not url.startswith(("http://", "https://")):
        raise _MirrorError("expected an address that begins with http:// or https://")
    with _network_errors():
        response = urlopen(Request(url, headers=_HEADERS, method=method), timeout=timeout)
    with response:
        yield response


def _read(response: http.client.HTTPResponse) -> bytes:
    with _network_errors():
        return response.read1(_PIECE)  # one receive at most, so that `timeout` bounds the silence


@contextmanager
def _network_errors() -> Iterator[None]:
    """Turn what the network can raise into _MirrorError, which writing to the disk never raises."""
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _MirrorError(f"HTTP {error.code} {error.reason}", again=error.code >= 500) from None
    except URLError as error:
        raise _MirrorError(error.reason, again=True) from None
    except TimeoutError:
        raise _MirrorError("timed out", again=True) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _MirrorError(str(error) or type(error).__name__, again=True) from None
