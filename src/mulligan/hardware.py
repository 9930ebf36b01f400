"""The machine: which device computes, and what a run's records say of it."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

from mulligan._version import __version__
from mulligan.errors import UserError, nearest

DEVICES = ("auto", "cpu", "cuda", "mps")


def device(name: str) -> torch.device:
    """Resolve ``auto|cpu|cuda|mps``; ``auto`` takes the first of cuda, mps and cpu that is there.

    Raises:
        UserError: an unknown name, or a device that this machine or this build of torch lacks.
    """
    if name not in DEVICES:
        raise UserError(f"--device {name} is not known{nearest(name, DEVICES)}")
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
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
