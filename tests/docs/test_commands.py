"""The documentation's commands work.

The rule, for README.md and every page under docs/:

- In a block fenced exactly ```` ```console ````, a line that begins with ``$ `` is a command; a backslash at
  its end carries it on to the next line. Every other line is output, and is not looked at.
- The commands of a page run in order, in one fresh directory. A block fenced with a name, such as
  ```` ```toml title="mine.toml" ````, is saved there under it when its turn comes.
- ``mulligan …`` runs in this process and must exit with 0; ``> FILE`` may follow it. Training is cut to
  three steps, and takes ``digits`` for a named set that is not here. Fetching is only looked at.
- ``torchrun … -m mulligan …`` runs likewise, in processes of its own.
- ``python FILE`` runs a file that an earlier block saved. Of ``make TARGET`` the Makefile must have the
  target.
- ``pip install``, ``git clone``, ``cd`` and ``export`` are for the reader; ``<!-- not run -->`` right before
  the fence leaves a whole block to them. Any other command fails the test: nothing is skipped in silence.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from docs.test_python_blocks import NOT_RUN, PAGES, ROOT, fenced_blocks
from mulligan import sampler
from mulligan.data import DATASETS
from support import command

FOR_THE_READER = (("pip", "install"), ("git", "clone"), ("cd",), ("export",))
OPTIONAL_SETS = ("fashion-mnist", "kmnist")
AT_LEAST = 5  # commands in README.md
VERBS = (
    "train|resume|retry|doctor|runs|compare|report|generate|info|evaluate|reference|arena|sweep|recipes|data"
)


def commands(body: str) -> list[str]:
    """The commands of a console block."""
    found: list[str] = []
    going_on = False
    for line in body.splitlines():
        if going_on:
            found[-1] += " " + line.strip().removesuffix("\\").rstrip()
        elif line.startswith("$ "):
            found.append(line.removeprefix("$ ").rstrip().removesuffix("\\").rstrip())
        going_on = line.rstrip().endswith("\\") and (going_on or line.startswith("$ "))
    return found


def all_commands(page: str) -> list[str]:
    blocks = (block for block in fenced_blocks(page) if block.info == "console")
    return [line for block in blocks for line in commands(block.body)]


def mnist_is_here() -> bool:
    data = os.environ.get("MULLIGAN_DATA")
    return bool(data) and Path(data or "", "mnist").is_dir()


def shortened(words: list[str]) -> list[str]:
    """A training command that takes a moment and needs nothing that is not here."""
    words = [
        word
        for option in words
        for word in (option.split("=", 1) if option.startswith("--data=") else [option])
    ]
    data = words[words.index("--data") + 1] if "--data" in words else "auto"
    if data in OPTIONAL_SETS or (data in ("mnist", "auto") and not mnist_is_here()):
        words = [*words, "--data", "digits"]  # the last one counts
    return words if "--dry-run" in words else [*words, "--steps", "3"]


def judged_briefly(words: list[str]) -> list[str]:
    """A judgement on a few images, of runs that take a moment."""
    if words[0] == "reference":
        return [*words, "--steps", "3"]
    words = [*words, "-n", "20", *(["--quick"] if words[0] != "sweep" else [])]
    if not mnist_is_here():
        words = [*words, "--reference", "mnist", *(["--data", "digits"] if words[0] != "evaluate" else [])]
    if words[0] != "evaluate":
        at = words.index("--minutes")
        words = [*words[:at], *words[at + 2 :], "--images", "60", "--set", "data.batch=20"]
        words += ["--seeds", "1"] if words[0] == "arena" else ["--trials", "1"]
    return words


def run_mulligan(words: list[str], out: Path | None, capsys: pytest.CaptureFixture[str]) -> None:
    if words[:2] == ["data", "fetch"]:
        assert len(words) == 3
        assert words[2] in DATASETS
        words = ["data", "fetch", "--help"]
    elif words[:1] == ["train"]:
        words = shortened(words)
    elif words[:1] in (["evaluate"], ["arena"], ["sweep"], ["reference"]):
        words = judged_briefly(words)
    capsys.readouterr()
    code = command(*words)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    if out is not None:
        out.write_text(printed.out, encoding="utf-8")


def run_torchrun(words: list[str]) -> None:
    at = words.index("mulligan") + 1
    ours = words[at:]
    ours = shortened(ours) if ours[0] == "train" else ours if ours[0] == "generate" else judged_briefly(ours)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:at]]
    done = subprocess.run([*launch, *ours], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr


def run_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, is_setting, _ = word.partition("=")
        pattern = rf"^{re.escape(variable)} *\?=" if is_setting else rf"^{re.escape(word)}:"
        assert re.search(pattern, makefile, re.M), f"the Makefile has no {variable}"


def run_command(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line, comments=True)
    out = None
    if len(words) > 2 and words[-2] == ">":
        out = Path(words[-1])
        words = words[:-2]
    if words[0] == "mulligan":
        run_mulligan(words[1:], out, capsys)
    elif words[0] == "torchrun" and out is None:
        run_torchrun(words)
    elif words[0] == "make" and out is None:
        run_make(words[1:])
    elif words[0] == "python" and len(words) == 2 and out is None:
        assert Path(words[1]).exists(), f"{words[1]}: no block before it has this title"
        runpy.run_path(words[1], run_name="__main__")
    else:
        assert any(tuple(words[: len(known)]) == known for known in FOR_THE_READER), "an unknown command"


def run_page(page: str, name: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Run a page's commands in the current directory; return how many there were."""
    ran = 0
    for block in fenced_blocks(page):
        if title := re.search(r'title="([\w.-]+)"', block.info):
            Path(title[1]).write_text(block.body + "\n", encoding="utf-8")
        if block.info != "console" or block.before.endswith(NOT_RUN):
            continue
        for line in commands(block.body):
            try:
                run_command(line, capsys)
            except Exception as error:
                raise AssertionError(f"{name}: $ {line}\n{error}") from error
            ran += 1
    return ran


WITH_COMMANDS = [page for page in PAGES if all_commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sampler, "RECALIBRATION_CHUNKS", 1)  # most of the time that three steps take
    run_page(page.read_text(encoding="utf-8"), page.name, capsys)


def test_the_readme_has_commands() -> None:
    readme = ROOT / "README.md"
    if readme.exists():
        assert len(all_commands(readme.read_text(encoding="utf-8"))) >= AT_LEAST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_command_hides_in_another_kind_of_block(page: Path) -> None:
    for block in fenced_blocks(page.read_text(encoding="utf-8")):
        if block.info.partition(" ")[0] in ("sh", "bash", "shell", "console", "text", ""):
            hidden = re.search(rf"^(\$ |mulligan ({VERBS})\b)", block.body, re.M)
            assert block.info == "console" or not hidden, f"{page.name}, line {block.line}: use ```console"


def test_make_demo_trains(capsys: pytest.CaptureFixture[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    arguments = re.search(r"^DEMO *\?= *(.+)$", makefile, re.M)
    assert arguments is not None
    assert "mulligan train $(DEMO)" in makefile
    run_mulligan(["train", *shlex.split(arguments[1]), "--dry-run"], None, capsys)


# The rule itself

EXAMPLE = f"""
```toml title="mine.toml"
extends = "mlp-relu"
latent.size = 3
```
```python title="look.py"
import mulligan

with open("size", "w") as file:
    file.write(str(mulligan.load("one").recipe.latent.size))
```
```console
$ git clone https://example.org/mulligan
$ make demo DEMO="mlp-tanh"
$ mulligan train mine.toml --images 999999999 \\
      --data digits --out one  # a comment
recipe:  mine
$ mulligan recipes show mlp-relu > shown.toml
$ python look.py
$ mulligan data fetch kmnist
```
{NOT_RUN}

```console
$ launch the rocket
```
"""


def test_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(EXAMPLE, "example", capsys) == 6
    assert Path("size").read_text() == "3"
    assert Path("shown.toml").read_text(encoding="utf-8").startswith("# A first GAN")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("rm -rf /", "unknown command"),
        ("pip uninstall mulligan", "unknown command"),
        ("mulligan train mlp-rleu", "mlp-relu"),
        ("mulligan trian", "train"),
        ("mulligan recipes | head", "."),
        ("mulligan data fetch mnits", "mnits"),
        ("make coffee", "no coffee"),
        ("make demo COLOUR=red", "no COLOUR"),
        ("python nowhere.py", "nowhere.py"),
        ("mulligan recipes && rm x", "."),
    ],
)
def test_what_does_not_work_is_noticed(
    line: str,
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=fault):
        run_page(f"```console\n{'$ ' + line}\n```\n", "example", capsys)
