"""TensorBoard, for those who have it: the rows of the log as scalars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mulligan.calibration import Forecast
from mulligan.errors import UserError
from mulligan.loop import Progress
from mulligan.runlog import Row
from mulligan.state import State


class TensorBoard:
    """Writes ``DIR/tensorboard``; the x axis counts images seen."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("--tensorboard needs an extra package: pip install 'mulligan[track]'") from None
        self._open: Any = SummaryWriter
        self._writer: Any = None

    def begin(self, state: State, run: Path, note: str, forecast: Forecast | None = None) -> None:
        """Open the event file."""
        self._writer = self._open(str(run / "tensorboard"), purge_step=state.images + 1)

    def row(self, row: Row, progress: Progress) -> None:
        """Write every number of the row."""
        vitals = {f"vitals/{name}": value for name, value in row.get("vitals", {}).items()}
        numbers = {**row, **row.get("card", {}), **vitals, **row["time"]}
        for name, value in numbers.items():
            if isinstance(value, int | float) and name != "images":
                self._writer.add_scalar(name, value, row["images"])

    def tick(self, progress: Progress) -> None:
        """Rows are enough."""

    def end(self) -> None:
        """Close the event file."""
        self._writer.close()
