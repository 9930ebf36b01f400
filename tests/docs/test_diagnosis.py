"""docs/diagnosis.md has every verdict, with the cause that the code gives and a picture of it."""

from __future__ import annotations

import re

import pytest

from docs.test_python_blocks import ROOT
from mulligan.doctor.causes import CAUSES
from mulligan.doctor.rules import ORDER

PAGE = (ROOT / "docs" / "diagnosis.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_has_every_verdict_and_no_other() -> None:
    assert list(SECTIONS) == list(ORDER)


@pytest.mark.parametrize("kind", ORDER)
def test_a_verdict_has_its_cause_its_picture_and_what_to_change(kind: str) -> None:
    text = SECTIONS[kind]
    assert f"**Why.** {CAUSES[kind]}\n" in text  # type: ignore[index]
    assert re.search(r"^- ", text, re.MULTILINE)
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
    assert pictures or kind == "non-finite"  # such a run ends before it has painted
