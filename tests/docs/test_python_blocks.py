"""The documentation's Python runs, and prints what the page says it prints.

The rule, for README.md and every page under docs/:

- A block fenced exactly ```` ```python ```` at the start of a line is run, in a fresh directory. The blocks
  of a page share one namespace, from top to bottom.
- If the next thing after it (blank lines aside) is a ```` ```text ```` block, that is what it must print,
  to the letter but for white space at the very end.
- A fence that says more (```` ```python title="..." ````), or a line ``<!-- not run -->`` right before the
  fence (blank lines aside), leaves the block alone.
"""

import contextlib
import io
import textwrap
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
NOT_RUN = "<!-- not run -->"


class Block(NamedTuple):
    """A fenced block: its fence's words, the number of its first line, its body, and the text before it."""

    info: str
    line: int
    body: str
    before: str


def fenced_blocks(page: str) -> list[Block]:
    blocks: list[Block] = []
    fence, info, start, body, between = "", "", 0, [""], [""]
    for number, line in enumerate(page.splitlines(), 1):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            if len(ticks) >= len(fence) and line.strip() == ticks:
                blocks.append(Block(info, start, "\n".join(body), "\n".join(between).strip()))
                fence, between = "", []
            else:
                body.append(line)
        elif len(ticks) >= 3:
            fence, info, start, body = ticks, line[len(ticks) :].strip(), number + 1, []
        else:
            between.append(line)
    assert not fence, f"the fence before line {start} is never closed"
    return blocks


def run_page(page: str, name: str) -> int:
    """Run a page's blocks; return how many ran."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    blocks, ran = fenced_blocks(page), 0
    for block, after in zip_longest(blocks, blocks[1:]):
        if block.info != "python" or block.before.endswith(NOT_RUN):
            continue
        printed = io.StringIO()
        # The empty lines make a traceback give the page's own line numbers.
        code = compile("\n" * (block.line - 1) + block.body, name, "exec", dont_inherit=True)
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        ran += 1
        if after is not None and after.info == "text" and not after.before:
            assert printed.getvalue().rstrip() == after.body.rstrip(), f"{name}, line {block.line}"
    return ran


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), str(page))


def test_the_layers_page_is_among_them() -> None:
    page = ROOT / "docs" / "layers.md"
    assert page in PAGES
    assert sum(block.info == "python" for block in fenced_blocks(page.read_text(encoding="utf-8"))) >= 8


EXAMPLE = textwrap.dedent(
    f"""
    ```python
    x = 1
    ```
    Words.
    ```text
    Not the output of the block above: there are words between.
    ```
    ```python
    print(x + 1)
    ```

    ```text
    2
    ```
    ```python title="a fragment"
    model.fit(...)
    ```
    {NOT_RUN}

    ```python
    launch_the_rocket()
    ```
    ````markdown
    ```python
    inside_another_fence()
    ```
    ````
    """
)


def test_the_rule() -> None:
    assert run_page(EXAMPLE, "example") == 2
    assert run_page("Words alone.", "example") == 0


@pytest.mark.parametrize(("right", "wrong"), [("\n2\n", "\n3\n"), ("\n2\n", "\n 2\n"), ("\n2\n", "\n\n")])
def test_a_wrong_output_is_noticed(right: str, wrong: str) -> None:
    assert right in EXAMPLE
    with pytest.raises(AssertionError, match="example, line 10"):
        run_page(EXAMPLE.replace(right, wrong), "example")


def test_a_block_that_raises_is_noticed() -> None:
    with pytest.raises(NameError, match="y"):
        run_page(EXAMPLE.replace("x = 1", "y"), "example")
