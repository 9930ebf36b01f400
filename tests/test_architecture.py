"""The rooms of the package, what each may import, and how large anything in them may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mulligan

ROOT = Path(mulligan.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Room → what it may import besides the standard library: other rooms, then other packages.
ROOMS: dict[str, str] = {
    "_version": "",
    "errors": "",
    "files": "errors",
    "seeds": "",
    "pixels": "torch",
    "recipe": "errors | pydantic tomli_w",
    "recipes": "",
    "data": "errors files model seeds | numpy PIL",  # knows no networks, but the one that draws mnist-synth
    "data.order": "errors seeds | torch",
    "distributed": "errors | torch",
    "objectives": "distributed | torch",
    "penalties": "objectives | torch",  # for the mean over a batch
    "constraints": "torch",
    "augment": "torch",
    "models": "errors recipe | torch",
    "step": "augment objectives penalties | torch",  # the algorithm knows no names, no files, no processes
    "schedules": "recipe",
    "build": (
        "augment constraints distributed errors hardware models objectives penalties recipe schedules seeds"
        " step | torch"
    ),
    "ema": "torch",
    "thin": "torch",
    "graphs": "errors | torch",
    "compiled": "ema errors files graphs hardware step thin | torch",  # knows the step as something to call
    "conditions": "errors recipe | numpy torch",
    "stream": "build data.order distributed hardware pixels recipe seeds | torch",
    "sampler": "build conditions distributed models pixels recipe seeds | numpy torch",
    "archive": "errors files | pydantic safetensors torch",
    "checkpoint": "archive errors files hardware | pydantic torch",  # a recipe is a table to it
    "state": (
        "build checkpoint compiled conditions data distributed ema errors graphs hardware recipe sampler step"
        " stream | torch"
    ),
    "probes": "recipe state step | torch",
    "vitals": "build metrics pixels state step stream | torch",
    "calibration": "_version compiled files hardware state | torch",
    "runlog": "errors files recipe",
    "hardware": "_version errors | torch",
    "pictures": "errors files | numpy PIL",
    "metrics": "errors seeds | numpy torch",  # features in, numbers out: knows no network and no file
    "evaluator": "archive distributed errors seeds | numpy pydantic torch",
    "scorecard": (
        "archive checkpoint data distributed errors evaluator hardware metrics model runlog seeds state"
        " | numpy pydantic torch torch_fidelity"
    ),
    "doctor": "recipe runlog",  # rows in, verdicts out
    "loop": ("checkpoint distributed doctor errors probes recipe runlog schedules state step vitals | torch"),
    "watching": "calibration doctor errors loop pictures recipe runlog seeds state",
    "model": "build checkpoint conditions distributed errors hardware recipe sampler | torch",
    "training": (
        "calibration checkpoint data distributed errors hardware loop model recipe reporting runlog sampler"
        " scorecard state watching | torch"
    ),
    "retrying": "checkpoint data doctor errors loop recipe resuming runlog training watching",
    "reporting": (  # reads run directories and draws with the sampler: neither step nor loop
        "checkpoint data doctor errors files metrics model pictures recipe runlog scorecard | numpy PIL"
    ),
    "resuming": "checkpoint data distributed errors files loop recipe runlog training watching",
    "arena": "checkpoint errors files metrics pictures recipe runlog | matplotlib numpy",
    "sweep": "arena errors files recipe runlog | optuna sqlalchemy",
    "generation": "data distributed errors hardware model pictures",
    "tracking": "calibration errors loop runlog state | torch",
    # imported when asked for
    "": "_version errors loop model recipe reporting resuming retrying scorecard training",
    "cli": (
        "_version arena calibration data distributed doctor errors files generation hardware loop model"
        " pictures recipe reporting resuming retrying runlog scorecard state sweep tracking training"
        " watching"
        " | rich typer"
    ),
    "__main__": "cli",
}

LONG_FUNCTIONS = {"loop.train": "the loop reads top to bottom"}
MANY_PARAMETERS = {
    "training.train": "the public function: one keyword for each thing a user may say of a run",
    "retrying.retry": "one keyword for each thing a user may say of a second shot",
    "cli.train.train": "its parameters are the options of `mulligan train`",
    "cli.arena.arena": "likewise",
    "cli.arena.sweep": "likewise",
}


def dotted(file: Path) -> str:
    """cli/train.py is cli.train, data/__init__.py is data, and __init__.py is the empty name."""
    return ".".join(part for part in file.relative_to(ROOT).with_suffix("").parts if part != "__init__")


MODULES = {dotted(file): file for file in FILES}


def imported(file: Path) -> Iterator[str]:
    """Yield the modules that a file names anywhere: the package's own with a leading dot."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file}: a relative import"
            named = [
                f"{node.module}.{alias.name}"
                if f"{node.module}.{alias.name}".removeprefix("mulligan.") in MODULES
                else node.module
                for alias in node.names
            ]
        else:
            continue
        for name in named:
            if name.partition(".")[0] == "mulligan":
                yield "." + name.removeprefix("mulligan").removeprefix(".")
            elif name.partition(".")[0] not in sys.stdlib_module_names:
                yield name.partition(".")[0]


def room(module: str) -> str:
    return module if module in ROOMS else module.partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_its_row_allows(module: str) -> None:
    allowed = set(ROOMS[room(module)].replace("|", " ").split())
    for name in imported(MODULES[module]):
        found = room(name[1:]) if name.startswith(".") else name
        assert found in allowed | {room(module)}, f"{module or 'mulligan'} imports {name.lstrip('.')}"


def test_imports_go_one_way() -> None:
    graph = {
        module: {name[1:] for name in imported(file) if name.startswith(".")}
        for module, file in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # else it raises CycleError
    rows = {
        name: {other for other in row.partition("|")[0].split() if other in ROOMS}
        for name, row in ROOMS.items()
    }
    list(TopologicalSorter(rows).static_order())
    assert {room(module) for module in MODULES} == ROOMS.keys()
    assert {name for name, row in rows.items() if "loop" in row} == {
        *("", "training", "resuming", "retrying", "tracking", "watching", "cli"),
    }
    assert {name for name, row in rows.items() if "cli" in row} == {"__main__"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import mulligan", ("torch", "numpy", "pydantic", "PIL", "typer")),
        ("import mulligan.cli", ("torch", "numpy", "pydantic", "PIL")),
        ("from mulligan.cli import main; main(['--help'])", ("torch", "numpy", "pydantic", "PIL")),
        ("from mulligan.cli import main; main(['recipes'])", ("torch", "numpy", "PIL")),
    ],
)
def test_what_needs_no_torch_does_not_import_it(code: str, absent: tuple[str, ...]) -> None:
    report = f"lambda: sys.stderr.write(' '.join({set(absent)} & sys.modules.keys()))"
    script = f"import atexit, sys; atexit.register({report}); {code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if isinstance(node, ast.FunctionDef):
                yield f"{prefix}.{node.name}", node
            yield from functions(node, f"{prefix}.{node.name}")


def test_nothing_grows_beyond_a_screen_or_two() -> None:
    """A stale exemption fails as well."""
    long_files = {
        str(file.relative_to(ROOT)): lines
        for file in FILES
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 400
    }
    every = [
        found
        for module, file in MODULES.items()
        for found in functions(ast.parse(file.read_text(encoding="utf-8")), module)
    ]
    long = {name for name, node in every if (node.end_lineno or 0) - node.lineno + 1 > 80}
    many = {
        name
        for name, node in every
        if len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) > 10
    }
    assert long_files == {}
    assert long <= LONG_FUNCTIONS.keys()
    assert many == MANY_PARAMETERS.keys()
