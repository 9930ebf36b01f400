"""Source files with one change in them: a check that does not notice the change is no check."""

from __future__ import annotations

import sys
import types
from pathlib import Path


def mutated(name: str, old: str, new: str) -> types.ModuleType:
    """Execute the text of ``mulligan.<name>`` with ``old`` replaced by ``new``; the package keeps its own."""
    original = sys.modules[f"mulligan.{name}"]
    assert original.__file__
    text = Path(original.__file__).read_text(encoding="utf-8")
    assert old in text, f"{name}.py no longer says {old!r}: the mutant must follow it"
    module = types.ModuleType(f"mutated_{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(text.replace(old, new), f"mutated {name}.py", "exec"), module.__dict__)
    del sys.modules[module.__name__]
    return module
