"""docs/recipes-format.md says what the schema says, of every key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mulligan.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "recipes-format.md"


def test_the_page_is_current(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import recipe_reference

    recipe_reference.main()
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        "run: python scripts/recipe_reference.py > docs/recipes-format.md"
    )
    sys.modules.pop("recipe_reference", None)


def test_every_key_is_there_with_its_meaning() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, table in Recipe.model_json_schema()["$defs"].items():
        if name == "Curve":
            continue  # a value, explained at the page's head
        for key, field in table["properties"].items():
            if "$ref" in field or field.get("oneOf", [{}])[0].get("$ref"):
                continue  # a table within a table has a section of its own
            rows = re.findall(rf"^\| `{key}` \|.*$", page, re.MULTILINE)
            assert rows, f"{name}.{key} is not on the page"
            assert field.get("description"), f"{name}.{key} has no meaning"
