"""A safetensors file with JSON in its header, opened without trusting it. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mulligan.errors import UserError, first_line, is_unicode, out_of_memory
from mulligan.files import write_atomically

MAX_HEADER = 2 << 20  # bytes: several times what a thousand class names and a thousand tensors take
KEY = "mulligan"

Side = Annotated[int, Field(ge=1, le=1024)]  # of an image, in pixels


class Header(BaseModel):
    """What a file says of itself: nothing that is not known, and no number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Read = TypeVar("Read", bound=Header)


def write(path: Path, tensors: Mapping[str, Tensor], header: str) -> None:
    """Write tensors and a JSON text whole or not at all.

    Raises:
        OSError: the disk took no more; nothing is left of it.
    """
    # A copy on the CPU of each, since safetensors refuses tensors that share memory.
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(whole, {KEY: header}))


@contextmanager
def opened(path: Path, what: str, instead: Callable[[], str] = str) -> Iterator[Any]:
    """Open a file for ``keys`` and ``get_tensor``; whatever is wrong with it, then or later, is one line.

    The line ends with what ``instead`` says, where it is the file that is at fault.

    Raises:
        UserError: it cannot be read as ``what``.
        RuntimeError: there is no memory for it.
    """
    if not is_unicode(path):
        raise UserError(f"{path}: its path is not Unicode, which the library cannot open: rename it")
    try:
        with path.open("rb") as start:
            size = int.from_bytes(start.read(8), "little")
        if size > MAX_HEADER:  # refused before anything parses it
            raise UserError(
                f"{path}: cannot be read as {what}: it claims a header of {size:,} bytes{instead()}"
            )
        with safe_open(path, framework="pt") as file:
            yield file
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read as {what}: {first_line(error.strerror or error)}") from None
    except (SafetensorError, ValueError, RuntimeError, TypeError, KeyError) as error:
        if out_of_memory(error):
            raise
        raise UserError(f"{path}: cannot be read as {what}: {first_line(error)}{instead()}") from None


def header_text(file: Any) -> str | None:
    """Return the JSON text that ``write`` put in the header, or None."""
    text: str | None = (file.metadata() or {}).get(KEY)
    return text


def parsed(path: Path, model: type[Read], text: str | None, what: str) -> Read:
    """Read a header's JSON into its model.

    Raises:
        UserError: it is not one.
    """
    if text is None:
        raise UserError(f"{path}: not {what} of Mulligan: its header says nothing of one")
    try:
        header = model.model_validate_json(text)
        header.model_dump_json()
    except ValidationError as error:
        raise UserError(f"{path}: its header is wrong: {fault(error)}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: its header holds text that is not Unicode") from None
    return header


def fault(error: ValidationError) -> str:
    """Say in a few words where a header is wrong, and how."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
