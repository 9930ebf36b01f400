"""Write docs/recipes-format.md from the schema of recipes.

python scripts/recipe_reference.py > docs/recipes-format.md
"""

from __future__ import annotations

import re
from typing import Any

from mulligan.recipe import Recipe

UNITS = {
    "batch": "images", "holdout": "images", "images": "images", "every": "images", "half_life": "images",
    "smallest": "images", "steps": "updates", "d_steps": "updates", "min_steps": "updates",
    "minutes": "minutes",
    "data.size": "pixels", "hidden": "units", "dense": "units", "width": "feature maps",
    "max_width": "feature maps", "channels": "feature maps", "pack": "images", "keep": "checkpoints",
    "most": "moments", "augment.noise": "pixel values", "pixels": "pixel values", "latent.size": "numbers",
    "blocks": "blocks", "grid": "images",
}  # fmt: skip

INTRODUCTION = """# The recipe format

A recipe is a TOML file. `mulligan recipes show NAME` prints one; `mulligan train FILE.toml` trains one.
A file may begin with `extends = "mlp-relu"` and say only what differs; `--set path.to.key=value` changes
a key on the command line. What is laid over a recipe is merged key by key, but a table whose `kind`
changes is replaced whole: its other keys then start from the new kind's defaults.

Where the type says *curve*, a number may also be a table such as
`{ images = [0, 100_000, 2_000_000], values = [0.0, 2e-4, 1e-5], shape = "linear" }`: the value after so
many images seen, straight (`linear`) or smooth (`cosine`) between the points, constant outside them.

This page is generated from the schema by `scripts/recipe_reference.py`; a test keeps it current.
"""


def main() -> None:
    """Print the page."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    print(INTRODUCTION)
    _section("Top level", "", schema, definitions)
    for name, field in schema["properties"].items():
        for table in _tables(field, definitions):
            _sections(name, table, definitions)


def _sections(path: str, table: dict[str, Any], definitions: dict[str, Any]) -> None:
    kind = table["properties"].get("kind", {}).get("const")
    several = f", kind `{kind}`" if kind and path in ("generator", "discriminator", "stop") else ""
    _section(f"`[{path}]`{several}", path, table, definitions)
    for name, field in table["properties"].items():
        for inner in _tables(field, definitions):
            _sections(f"{path}.{name}", inner, definitions)


def _tables(field: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables a field may hold; a curve is a value, not a table."""
    options = field.get("oneOf") or field.get("allOf") or [field]
    names = [option["$ref"].rsplit("/", 1)[1] for option in options if "$ref" in option]
    return [definitions[name] for name in names if name != "Curve"]


def _section(title: str, path: str, table: dict[str, Any], definitions: dict[str, Any]) -> None:
    rows = []
    for name, field in table["properties"].items():
        if _tables(field, definitions):
            continue
        meaning, source = _split_source(field.get("description", ""))
        unit = UNITS.get(f"{path.split('.')[-1]}.{name}") or UNITS.get(name, "")
        default = "required" if name in table.get("required", []) else f"`{_toml(field.get('default'))}`"
        rows.append((f"`{name}`", _type(field), unit, default, meaning, source))
    if not rows:
        return
    print(f"## {title}\n")
    about = (table.get("description") or "").split("\n\n")[0].replace("\n", " ")
    print(f"{about}\n")
    print("| key | type and range | unit | default | meaning | source |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    print()


def _split_source(description: str) -> tuple[str, str]:
    found = re.search(r" \(([^()]*(?:et al\.|arXiv)[^()]*)\)", description.replace("\n", " "))
    if not found:
        return description.replace("\n", " "), ""
    return description.replace(found[0], ""), found[1]


def _type(field: dict[str, Any]) -> str:
    options = field.get("oneOf") or field.get("anyOf")
    if options:
        kinds = [_type(option) for option in options if option.get("type") != "null"]
        said = " or ".join(dict.fromkeys(kinds))
        return f"{said}, {field['range']}" if "range" in field else said
    if "$ref" in field:
        return "curve"
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "array":
        items = field.get("items") or field["prefixItems"][0]
        return f"list of {_type(items)}"
    name = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    return name[field["type"]] + _range(field)


def _range(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    ends = [
        f"≥ {low:g}" if low is not None else f"> {above:g}" if above is not None else "",
        f"≤ {high:g}" if high is not None else f"< {below:g}" if below is not None else "",
    ]
    said = ", ".join(end for end in ends if end)
    return f" {said}" if said else ""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
