"""Which tests this machine can run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("mulligan", derandomize=True, deadline=None)
settings.load_profile("mulligan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    data = os.environ.get("MULLIGAN_DATA")
    wants = {
        "mnist": (bool(data) and Path(data or "", "mnist").is_dir(), "no real MNIST in $MULLIGAN_DATA/mnist"),
        "gpu": (torch.cuda.is_available(), "no CUDA device"),
    }
    for item in items:
        for marker, (there, reason) in wants.items():
            if item.get_closest_marker(marker) and not there:
                item.add_marker(pytest.mark.skip(reason=reason))
