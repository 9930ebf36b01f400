"""Mulligan: train, judge, explain and serve generative adversarial networks for small images.

    import mulligan

    run = mulligan.train("swift", data="digits", images=200_000)
    images = mulligan.load(run.directory).sample(16, seed=0)  # uint8 [16, 1, 28, 28]

Importing the package imports nothing heavy and changes no global state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mulligan._version import __version__
from mulligan.errors import RunError, UserError

if TYPE_CHECKING:
    from mulligan.loop import Progress
    from mulligan.model import Model, load
    from mulligan.recipe import Recipe
    from mulligan.reporting import report
    from mulligan.resuming import resume
    from mulligan.retrying import retry, second_shots
    from mulligan.scorecard import Scorecard, evaluate
    from mulligan.training import Run, train

__all__ = [
    "Model",
    "Progress",
    "Recipe",
    "Run",
    "RunError",
    "Scorecard",
    "UserError",
    "__version__",
    "evaluate",
    "load",
    "report",
    "resume",
    "retry",
    "second_shots",
    "train",
]

_HOMES = {
    "Model": "model",
    "load": "model",
    "Progress": "loop",
    "Recipe": "recipe",
    "Run": "training",
    "Scorecard": "scorecard",
    "report": "reporting",
    "evaluate": "scorecard",
    "resume": "resuming",
    "retry": "retrying",
    "second_shots": "retrying",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch alone takes longer than a help text may."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mulligan' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"mulligan.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
