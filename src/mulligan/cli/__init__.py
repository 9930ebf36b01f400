"""The command line: parses arguments, prints, exits; nothing else does.

Exit codes: 0 done, 1 the run failed, 2 the user's input, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from mulligan._version import __version__
from mulligan.cli import arena, compare, data, doctor, evaluate, generate, recipes, report, runs, train
from mulligan.errors import RunError, UserError, out_of_memory, printable

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # faults of a disk's, not of the user's

app = typer.Typer(
    name="mulligan",
    help="Train, judge, explain and serve GANs for small images.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(train.resume)
app.command()(train.retry)
app.command()(doctor.doctor)
app.command()(runs.runs)
app.command()(compare.compare)
app.command()(report.report)
app.command()(generate.generate)
app.command()(generate.info)
app.command()(evaluate.evaluate)
app.command()(evaluate.reference)
app.command()(arena.arena)
app.command()(arena.sweep)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mulligan {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of the four codes."""
    for stream in ("stdout", "stderr"):  # one that was closed before we began
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8", errors="replace"))  # noqa: SIM115
    try:
        command = typer.main.get_command(app)
        # Not command.main(): it answers a closed pipe with exit code 1 before we hear of it.
        given = list(sys.argv[1:] if arguments is None else arguments)
        with command.make_context("mulligan", given) as context:
            code = command.invoke(context)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except typer.TyperException as error:
        _fail(_one_line(error), 2)
    except UserError as error:
        _fail(str(error), 2)
    except RunError as error:
        _fail(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        _fail("out of memory: try a smaller data.batch, fewer images or smaller ones", 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`mulligan recipes | head`): nothing is left to say.
        # Python flushes stdout once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None and error.errno not in DISK:
            _fail(f"{error.filename}: {reason}", 2)
        _fail(f"cannot write: {reason}", 1)


def _one_line(error: typer.TyperException) -> str:
    message = error.format_message()
    return message[:1].lower() + message[1:].removesuffix(".")


def _fail(message: str, code: int) -> NoReturn:
    print(f"mulligan: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)
