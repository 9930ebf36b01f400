"""A checkpoint: one safetensors file with JSON in its header. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mulligan.errors import UserError
from mulligan.files import write_atomically

SCHEMA = 1
FOLDER = "checkpoints"


@dataclass(frozen=True)
class Checkpoint:
    """What was read: tensors by name, and the JSON beside them."""

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below ``prefix.``, without it."""
        return {
            k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")
        }


def write(run: Path, images: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
    """Write ``checkpoints/<images>.safetensors`` whole or not at all; return its path."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{images:012d}.safetensors"
    header = {"mulligan": json.dumps({"schema": SCHEMA, **meta}, allow_nan=False)}
    # A copy on the CPU of each, since safetensors refuses tensors that share memory.
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(whole, header))
    return path


def read(path: Path, *, prefixes: tuple[str, ...] = ("",)) -> Checkpoint:
    """Read the tensors whose names begin with one of the prefixes.

    Raises:
        UserError: not a checkpoint, cut short, or written by another version's schema.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("mulligan", "null"))
            if not isinstance(meta, dict):
                raise UserError(f"{path}: not a checkpoint of Mulligan: its header says nothing of one")
            if meta.get("schema") != SCHEMA:
                raise UserError(f"{path}: checkpoint schema {meta.get('schema')!r}, expected {SCHEMA}")
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{path}: cannot be read as a checkpoint: {reason.splitlines()[0]}") from None
    return Checkpoint(path, tensors, meta)


def history(run: Path) -> list[Path]:
    """Return a run's checkpoints, oldest first."""
    return sorted((run / FOLDER).glob("[0-9]*.safetensors"))


def find(source: Path) -> Path:
    """Return the checkpoint that a source means: itself, or a run directory's latest.

    Raises:
        UserError: nothing is there.
    """
    if source.is_file():
        return source
    if not source.exists():
        raise UserError(f"{source}: no such run directory or checkpoint")
    checkpoints = history(source)
    if not checkpoints:
        raise UserError(f"{source}: no checkpoint here: expected a run directory with {FOLDER}/*.safetensors")
    return checkpoints[-1]


def thin(run: Path, keep: int) -> None:
    """Delete checkpoints until at most ``keep`` are left, evenly spread, the latest among them."""
    paths = history(run)
    while len(paths) > keep:
        # Dropping the one whose neighbours are closest together keeps the history even.
        images = [int(path.stem) for path in paths]
        gaps = [images[i + 1] - images[i - 1] for i in range(1, len(paths) - 1)]
        paths.pop(1 + gaps.index(min(gaps))).unlink()


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to ``<parameter>.<name>`` tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what ``pack_optimizer`` flattened."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        i, _, key = name.partition(".")
        state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
