"""``mulligan recipes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mulligan.recipe import DiscriminatorTable, GeneratorTable, Recipe

COLUMNS = ("recipe", "z", "generator", "discriminator", "objective", "update", "batch", "lr", "images")

app = typer.Typer(help="Compare the recipes; print one to save, edit and train.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def compare(context: typer.Context) -> None:
    """Print the recipes side by side, as the rows of a paper's table."""
    if context.invoked_subcommand is not None:
        return
    from mulligan import recipe

    rows = [COLUMNS, *(_row(recipe.read(name)) for name in recipe.names())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def show(name: Annotated[str, typer.Argument(help="A recipe's name.")]) -> None:
    """Print a recipe's TOML, comments and all."""
    from mulligan import recipe

    print(recipe.text(name), end="")


def _row(recipe: Recipe) -> tuple[str, ...]:
    law = recipe.latent
    smoothed = f", real {recipe.objective.real_label:g}" if recipe.objective.real_label < 1 else ""
    rates = {recipe.optimizer.generator.lr, recipe.optimizer.discriminator.lr}
    return (
        recipe.name,
        f"{law.size} normal" if law.law == "normal" else f"{law.size} [{law.low:g}, {law.high:g})",
        _network(recipe.generator),
        _network(recipe.discriminator),
        recipe.objective.kind + smoothed,
        f"{recipe.step.order}, {recipe.step.noise} z",
        str(recipe.data.batch),
        " / ".join(f"{rate:g}" for rate in sorted(rates)),
        f"{recipe.budget.images:,}",
    )


def _network(table: GeneratorTable | DiscriminatorTable) -> str:
    if table.kind == "mlp":
        norm = " + BN" if "batch" in table.norms else ""
        return f"mlp {'-'.join(map(str, table.hidden))} {table.activation}{norm}"
    return f"{table.kind} {'-'.join(map(str, table.channels))} {table.activation}"
