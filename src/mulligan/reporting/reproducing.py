"""The command that makes a run again, and what its recipe changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mulligan import data as data_room
from mulligan import recipe as recipes
from mulligan import runlog
from mulligan.errors import UserError
from mulligan.recipe import Recipe
from mulligan.reporting.facts import Facts


def changes(recipe: Recipe) -> list[str] | None:
    """Say in what a recipe differs from the one in the package that has its name; None if there is none."""
    if recipe.name not in recipes.names():
        return None
    return recipes.differences(recipes.read(recipe.name), recipe)


def command(facts: Facts) -> list[str] | None:
    """Return the words of the command that makes a run again; None where no command can.

    Of a second shot that is one that takes it again.
    """
    if facts.parent:
        return _again(facts)
    about, recipe = facts.meta.data, facts.recipe
    if about.source is None:
        return None  # images handed over in Python
    sets = overrides(recipe)
    words = [*_program(facts.environment), "train"]
    if sets is None:
        words.append(str(facts.run / runlog.RECIPE))
    else:
        words.append(recipe.name)
    # The name is the path that the user gave, the source the same made absolute.
    words += ["--data", about.source if about.source in data_room.DATASETS else about.name]
    words += [] if about.size is None else ["--size", str(about.size)]
    words += _budget(recipe) if sets is not None else []
    words += ["--seed", str(facts.meta.seed), "--precision", facts.meta.mode.precision]
    return words + [word for key in sets or () for word in ("--set", key)]


def overrides(recipe: Recipe) -> list[str] | None:
    """Return what ``--set`` must say to make a recipe of the one in the package with its name.

    None if there is none, or if no ``--set`` can say it. Budgets apart.
    """
    if recipe.name not in recipes.names():
        return None
    base = recipes.read(recipe.name)
    old, new = (recipes.flatten(one.model_dump(exclude={"budget"}, mode="json")) for one in (base, recipe))
    changed = [key for key, value in new.items() if old.get(key, ...) != value]
    # A table whose kind changes loses its other keys, so that all that is not a default must be said again.
    anew = tuple(key.removesuffix("kind") for key in changed if key.endswith(".kind"))
    for keys in (changed, [key for key in new if key in changed or key.startswith(anew)]):
        sets = [setting(key, new[key]) for key in keys if new[key] is not None]
        try:
            made = recipes.read(recipe.name, sets)
        except UserError:
            continue
        if made.model_dump(exclude={"budget"}) == recipe.model_dump(exclude={"budget"}):
            return sets
    return None


def setting(key: str, value: object) -> str:
    """Return ``key=value`` as ``--set`` takes it."""
    plain = isinstance(value, str) and re.fullmatch("[a-z][a-z0-9-]*", value)
    bare = plain and value not in ("true", "false", "inf", "nan")
    return f"{key}={value if bare else json.dumps(value)}"


def retry(facts: Facts, sets: Sequence[str]) -> list[str]:
    """Return the words of a second shot with something changed; it finds by itself where to begin."""
    changes = [word for change in sets for word in ("--set", change)]
    return ["mulligan", "retry", str(facts.run), *changes]


def _again(facts: Facts) -> list[str]:
    assert facts.parent
    now = recipes.flatten(facts.recipe.model_dump(mode="json"))
    keys = [change.partition(" was ")[0] for change in facts.parent.changes]
    sets = [setting(key, now[key]) for key in keys if now.get(key) is not None]
    before = Path(facts.parent.run).name  # its folder is this machine's own affair
    beside = facts.run.parent / before
    words = [
        "mulligan",
        "retry",
        str(beside) if beside.is_dir() else before,
        "--from",
        str(facts.parent.images),
    ]
    words += ["--images", str(facts.recipe.budget.images)]
    return words + [word for key in sets for word in ("--set", key)]


def _budget(recipe: Recipe) -> list[str]:
    base, budget = recipes.read(recipe.name).budget, recipe.budget
    words: list[str] = []
    if (budget.images, budget.steps) != (base.images, base.steps):
        if budget.steps is not None:
            words += ["--steps", str(budget.steps)]
        if budget.steps is None or budget.images != budget.steps * recipe.data.batch * recipe.step.d_steps:
            words += ["--images", str(budget.images)]
    if budget.minutes is not None and budget.minutes != base.minutes:
        words += ["--minutes", f"{budget.minutes:g}"]
    return words


def _program(environment: Mapping[str, Any]) -> list[str]:
    processes = environment.get("processes")
    if isinstance(processes, int) and processes > 1:
        return ["torchrun", "--standalone", f"--nproc-per-node={processes}", "-m", "mulligan"]
    return ["mulligan"]
