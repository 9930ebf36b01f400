"""Recipes in: by name or from a file, one laid over another, validated once at the end."""

from __future__ import annotations

import os.path
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mulligan.errors import UserError, nearest
from mulligan.recipe.explain import explain, shown
from mulligan.recipe.tables import Recipe

MAX_RECIPE_BYTES = 1 << 20
MAX_DEPTH = 16  # of tables and lists in one another; more than any key of a recipe needs


def names() -> list[str]:
    """Names of the recipes that come with the package, in alphabetical order."""
    folder = resources.files("mulligan.recipes")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def text(name: str) -> str:
    """The TOML of a recipe that comes with the package, comments and all."""
    if name not in names():
        raise UserError(f"there is no recipe {shown(name)}{_hint(name)}")
    return (resources.files("mulligan.recipes") / f"{name}.toml").read_text(encoding="utf-8")


def read(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a TOML file and apply ``key=value`` overrides.

    A file may say ``extends = "mlp-relu"``: its keys are then laid over that recipe's.

    Raises:
        UserError: no such recipe or file, not TOML, or a key that is wrong, named in one line.
    """
    where = str(source)
    if where.endswith(".toml") or "/" in where:
        table = _parse(_read_file(Path(source)), where)
    else:
        table = _parse(text(where), where)
    if "extends" in table:
        base = table.pop("extends")
        if not isinstance(base, str):
            raise UserError(f"{where}: extends must be the name of a recipe, got {shown(base)}")
        table = merge(_parse(text(base), base), table)
    return from_dict(overridden(table, overrides), where)


def overridden(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Lay ``key=value`` overrides over a table, all together.

    They are joined first: a new ``kind`` clears the table's keys, not what another override says.

    Raises:
        UserError: one is not of that form.
    """
    over: dict[str, Any] = {}
    listed = isinstance(overrides, Sequence) and not isinstance(overrides, str | bytes)
    if not listed or not all(isinstance(override, str) for override in overrides):
        raise UserError(f"overrides: expected a list of path.to.key=value, got {shown(overrides)}")
    for override in overrides:
        try:
            over = merge(over, _parse_override(override))
        except RecursionError:
            raise UserError(f"--set {shown(override)}: nested too deeply for a recipe") from None
    return merge(table, over)


def from_dict(table: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Validate a merged table; a fault becomes one UserError that begins with ``where``."""
    if _depth_exceeds(table, MAX_DEPTH):
        raise UserError(f"{where}: nested too deeply for a recipe")
    try:
        return Recipe.model_validate(dict(table))
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, table)}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another, key by key, at every depth.

    A sub-table whose ``kind`` changes is replaced whole: the keys of an MLP mean nothing to a
    DCGAN, and the new kind's own defaults apply.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        same_kind = (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and ("kind" not in old or value.get("kind", old["kind"]) == old["kind"])
        )
        merged[key] = merge(old, value) if same_kind and isinstance(old, Mapping) else value
    return merged


def _depth_exceeds(table: Mapping[str, Any], depth: int) -> bool:
    level: list[Any] = [table]
    for _ in range(depth + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, Mapping | list | tuple)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
    return bool(level)


def _hint(name: str) -> str:
    """Say what may have been meant by a name that is no recipe's."""
    if os.path.isdir(name) or name.endswith(".npz"):
        return f": images go to --data {shlex.quote(name[:200])}"
    if os.path.isfile(f"{name}.toml"):
        return f" (did you mean {name + '.toml'!r}?)"
    return nearest(Path(name[:80]).stem, names())


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RECIPE_BYTES + 1)
    except (OSError, ValueError) as error:
        hint = _hint(str(path)) if isinstance(error, FileNotFoundError | IsADirectoryError) else ""
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the recipe {str(path)[:200]}: {reason}{hint}") from None
    if len(raw) > MAX_RECIPE_BYTES:
        raise UserError(f"{path}: a recipe is at most 1 MiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a recipe: expected TOML in UTF-8") from None


def _parse(toml: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{where}: not valid TOML: {str(error) or 'nested too deeply'}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, raw = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts) or len(parts) > 8 or not override.isprintable():
        raise UserError(
            f"--set {shown(override)}: expected path.to.key=value, such as optimizer.generator.lr=2e-4"
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        value = raw.strip()  # a bare word, such as objective.kind=minimax, is a string
    table: dict[str, Any] = {parts[-1]: value}
    for part in reversed(parts[:-1]):
        table = {part: table}
    return table


def differences(before: Recipe, now: Recipe) -> list[str]:
    """List the keys in which two recipes differ, as ``path.to.key was 1, is 2``; budgets apart."""
    old, new = (flatten(recipe.model_dump(exclude={"budget"})) for recipe in (before, now))

    def said(key: str, recipe: Mapping[str, Any]) -> str:
        return "a schedule" if f"{key}.images" in recipe else shown(recipe.get(key))

    return [
        f"{key} was {said(key, old)}, is {said(key, new)}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a table's values by their whole paths, ``path.to.key``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
