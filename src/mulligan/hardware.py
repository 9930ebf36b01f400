"""The machine: which device computes, and what a run's records say of it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import torch
from torch import Tensor

from mulligan._version import __version__
from mulligan.errors import UserError, nearest

Precision = Literal["exact", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("exact", "bf16")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Mode:
    """How a machine computes a run: what its bits depend on besides recipe, data and seed.

    Attributes:
        precision: ``exact``, float32 throughout; or ``bf16``, networks' products in bfloat16 with
            weights, losses and optimisers in float32.
        compiled: Is a whole update one compiled function?
        captured: Is it one launch of a GPU?
    """

    precision: Precision = "exact"
    compiled: bool = False
    captured: bool = False

    def __str__(self) -> str:
        words = ["float32" if self.precision == "exact" else "bfloat16"]
        words += [word for word in ("compiled", "captured") if getattr(self, word)]
        return ", ".join(words)


def multiplies_bf16(device: torch.device) -> bool:
    """Tell whether a device has instructions for products of bfloat16; without, they are slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return bool(torch.cpu._is_avx512_bf16_supported() or amx())
    return False


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring what was drawn on the processor to a device, without waiting until the device is free."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def device(name: str) -> torch.device:
    """Resolve ``auto|cpu|cuda|mps``; ``auto`` takes the first of cuda, mps and cpu that is there.

    Raises:
        UserError: an unknown name, or a device that this machine or this build of torch lacks.
    """
    if name not in DEVICES:
        raise UserError(f"--device {name} is not known{nearest(str(name), DEVICES)}")
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in has.items() if there)
    if not has[name]:
        raise UserError(
            f"--device {name}: torch {torch.__version__} finds no such device here: use --device cpu"
        )
    return torch.device(name)


def environment(device: torch.device) -> dict[str, object]:
    """Versions and hardware, for ``environment.json``."""
    return {
        "mulligan": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": {name: metadata.version(name) for name in ("numpy", "pillow", "safetensors", "pydantic")},
        "platform": platform.platform(),
        "device": str(device),
        "gpu": device_name(device) if device.type == "cuda" else None,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def device_name(device: torch.device) -> str:
    """Return what a GPU calls itself, and of other devices the kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def cpu_name() -> str:
    """Return what the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
