"""What is wrong with a recipe, in one line that names the key and the nearest right value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mulligan.errors import nearest
from mulligan.recipe.tables import Recipe


def explain(error: ValidationError, table: Mapping[str, Any]) -> str:
    """Say in one line what the first fault is."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    path, model = _locate(fault["loc"], table)
    key = ".".join(path)
    kind = fault["type"]
    if kind == "extra_forbidden":
        return f"{key} is not a key{nearest(path[-1], model)}"
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("literal_error", "union_tag_invalid"):
        expected = fault["ctx"].get("expected") or fault["ctx"].get("expected_tags", "")
        choices = [c.strip().strip("'") for c in expected.replace(" or ", ",").split(",")]
        given = fault["input"]
        if kind == "union_tag_invalid":
            key, given = f"{key}.kind", fault["ctx"]["tag"]
        return f"{key} = {shown(given)} is not known{nearest(str(given)[:80], choices)}"
    if kind == "union_tag_not_found":
        return f"{key} needs a kind"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    got = f" (got {shown(given)})" if isinstance(given, str | int | float | bool) else ""
    return f"{key}: {message}{got}" if key else message


def shown(value: object) -> str:
    """Return a value as it may stand in a line: short, and without a line's end."""
    try:
        text = repr(value)
    except ValueError:  # an integer too large to be printed
        return "a huge number"
    except RecursionError:
        return "a table nested too deeply"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _locate(loc: Sequence[int | str], table: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Turn pydantic's location into the path a user wrote and the keys that are right there.

    Pydantic puts the branch of a union into the location (generator, mlp, hidden); a user never
    wrote it there.
    """
    path: list[str] = []
    here: Any = table
    model: Any = Recipe
    for part in loc:
        if (
            isinstance(part, str)
            and not (isinstance(here, Mapping) and part in here)
            and not _field(model, part)
        ):
            model = _branch(model, part)
            continue
        model = _field(model, part) or model
        plain = isinstance(part, str) and part.isprintable() and len(part) <= 60
        path.append(str(part) if plain else shown(part))
        here = here.get(part) if isinstance(here, Mapping) else None
    fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    return path, list(fields)


def _field(model: Any, name: int | str) -> Any:
    """Return what a key of a table holds, if there is such a key."""
    if isinstance(model, type) and issubclass(model, BaseModel) and name in model.model_fields:
        return model.model_fields[str(name)].annotation
    return None


def _branch(union: Any, name: str) -> Any:
    """Pick a union's table by its kind, or the curve."""
    members = [
        get_args(member)[0] if get_origin(member) is Annotated else member for member in get_args(union)
    ]
    tables = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
    for table in tables:
        kind = table.model_fields.get("kind")
        if (kind is not None and name in get_args(kind.annotation)) or (kind is None and len(tables) == 1):
            return table
    return union
