"""HTML that is escaped unless it was made here, and the one file that a page is."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from string import Template
from typing import Any

VOID = ("img", "input", "br")
LONGEST = 2000  # characters of a text from a file


class Markup(str):
    """Text that is HTML already; any other is escaped when it is put into a tag."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Make an element; of an attribute's name, ``class_`` is ``class`` and ``data_x`` is ``data-x``.

    None and False leave a child or an attribute out, and True writes an attribute without a value.
    """
    head = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + (
            ""
            if value is True
            else f'="{html.escape(str(value) if key == "src" else clipped(str(value)), quote=True)}"'
        )
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{head}>" + ("" if name in VOID else f"{join(*children)}</{name}>"))


def join(*children: object) -> Markup:
    """Put pieces one after another, each escaped unless it is HTML."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(clipped(str(child)), quote=True)
            for child in children
            if child is not None and child is not False
        )
    )


def clipped(text: str) -> str:
    """Shorten what a file says at endless length."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def rows(pairs: list[tuple[str, object]]) -> Markup:
    """Lay names and what belongs to them out as a list of definitions."""
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs), class_="facts"
    )


def section(name: str, title: str, *children: object) -> Markup:
    """Make a section with a heading that can be linked to."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def page(title: str, body: Markup, data: dict[str, Any]) -> bytes:
    """Put a page together: one file that asks for nothing, with the script allowed by its hash alone."""
    style, script = (_file(name).strip() for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        Template(_file("page.html"))
        .substitute(
            digest=digest,
            title=html.escape(clipped(title)),
            style=style,
            body=body,
            data=_json(data),
            script=script,
        )
        .encode("utf-8", "replace")
    )


def _json(value: dict[str, Any]) -> str:
    """Write JSON that may stand in a script element: nothing in it can end that."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _file(name: str) -> str:
    return (resources.files("mulligan.reporting") / name).read_text(encoding="utf-8")
