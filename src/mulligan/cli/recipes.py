"""``mulligan recipes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mulligan.cli.wording import aligned

if TYPE_CHECKING:
    from mulligan.recipe import Curve, DiscriminatorTable, GeneratorTable, Norm, Recipe

COLUMNS = (
    "recipe",
    "z",
    "generator",
    "discriminator",
    "told of",
    "objective",
    "update",
    "batch",
    "lr",
    "images",
)

app = typer.Typer(help="Compare the recipes; print one to save, edit and train.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def compare(context: typer.Context) -> None:
    """Print the recipes side by side, as the rows of a paper's table."""
    if context.invoked_subcommand is not None:
        return
    from mulligan import recipe

    rows = [COLUMNS, *(_row(recipe.read(name)) for name in recipe.names())]
    print("\n".join(aligned(rows)))


@app.command()
def show(name: Annotated[str, typer.Argument(help="A recipe's name.")]) -> None:
    """Print a recipe's TOML, comments and all."""
    from mulligan import recipe

    print(recipe.text(name), end="")


def _row(recipe: Recipe) -> tuple[str, ...]:
    law = recipe.latent
    smoothed = f", real {recipe.objective.real_label:g}" if recipe.objective.real_label < 1 else ""
    rates = {_rate(recipe.optimizer.generator.lr), _rate(recipe.optimizer.discriminator.lr)}
    return (
        recipe.name,
        f"{law.size} normal" if law.law == "normal" else f"{law.size} [{law.low:g}, {law.high:g})",
        _network(recipe.generator),
        _network(recipe.discriminator),
        _told(recipe),
        recipe.objective.kind + smoothed,
        f"{recipe.step.order}, {recipe.step.noise} z",
        str(recipe.data.batch),
        " / ".join(sorted(rates)),
        f"{recipe.budget.images:,}",
    )


def _told(recipe: Recipe) -> str:
    table = recipe.condition
    if table.kind == "none":
        return ""
    groups = f"{table.clusters} groups" if table.clusters else ""
    classes = "classes" if table.labels else ""
    if table.pieces == "whole":
        return " in ".join(filter(None, (classes, groups)))
    return " and ".join(filter(None, (classes, f"{groups} ({table.pieces})")))


def _rate(lr: float | Curve) -> str:
    return f"{lr:g}" if isinstance(lr, float | int) else "…".join(f"{value:g}" for value in lr.values)


def _network(table: GeneratorTable | DiscriminatorTable) -> str:
    norms: list[Norm] = []
    match table.kind:
        case "mlp":
            widths, norms = "-".join(map(str, table.hidden)), table.norms
        case "tutorial-dcgan":
            widths = "-".join(map(str, table.channels))
        case _:
            widths, norms = f"{table.width}…{table.max_width}", [table.norm]
    added = " + BN" if "batch" in norms else ""
    added += " + SN" if getattr(table, "spectral_norm", False) else ""
    return f"{table.kind} {widths} {table.activation}{added}"
