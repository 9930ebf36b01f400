"""What every table of a recipe shares."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Width = Annotated[int, Field(ge=1, le=16384)]
Count = Annotated[int, Field(ge=1, le=10**12)]
CountOrOff = Annotated[int, Field(ge=0, le=10**12)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]


class Table(BaseModel):
    """A table of a recipe: unknown keys are refused, types are taken at their word."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Curve(Table):
    """A value that changes with the images seen: through the given points, constant outside them."""

    images: Annotated[list[CountOrOff], Field(min_length=2, max_length=64)]
    """Images seen, increasing."""
    values: Annotated[list[Number], Field(min_length=2, max_length=64)]
    """The value at each."""
    shape: Literal["linear", "cosine"] = "linear"
    """Between two points."""

    @model_validator(mode="after")
    def _check(self) -> Curve:
        if len(self.images) != len(self.values):
            raise ValueError(
                f"{len(self.images)} images but {len(self.values)} values: a point has one of each"
            )
        if any(a >= b for a, b in pairwise(self.images)):
            raise ValueError("images must increase from point to point")
        return self

    def at(self, images: int) -> float:
        """Return the value after so many images."""
        if images <= self.images[0]:
            return self.values[0]
        for (a, b), (start, end) in zip(pairwise(self.images), pairwise(self.values), strict=True):
            if images < b:
                t = (images - a) / (b - a)
                t = (1 - math.cos(math.pi * t)) / 2 if self.shape == "cosine" else t
                return start + t * (end - start)
        return self.values[-1]


def _kind_of_value(value: Any) -> str:
    return "curve" if isinstance(value, dict | Curve) else "number"


def _up_to(high: float, *, exclusive: bool = False) -> AfterValidator:
    def check(value: float | Curve) -> float | Curve:
        for number in value.values if isinstance(value, Curve) else [value]:
            if not 0 <= number <= high or (exclusive and number == high):
                got = f", got {number:g}" if isinstance(value, Curve) else ""
                end = "to below" if exclusive else "to"
                raise ValueError(f"expected a number from 0 {end} {high:g}{got}")
        return value

    return AfterValidator(check)


def _moves(value: float | Curve) -> float | Curve:
    if value == 0 or (isinstance(value, Curve) and not any(value.values)):
        raise ValueError("at 0 nothing ever learns: expected a number above 0")
    return value


_NumberOrCurve = Annotated[
    Annotated[float, Tag("number")] | Annotated[Curve, Tag("curve")], Discriminator(_kind_of_value)
]
Rate = Annotated[
    _NumberOrCurve, _up_to(10), AfterValidator(_moves), Field(json_schema_extra={"range": "> 0, ≤ 10"})
]
"""A learning rate; a curve may begin or end at 0."""
Decay = Annotated[_NumberOrCurve, _up_to(1, exclusive=True), Field(json_schema_extra={"range": "≥ 0, < 1"})]
"""A moment's decay."""
Weight = Annotated[_NumberOrCurve, _up_to(1e6), Field(json_schema_extra={"range": "≥ 0, ≤ 1e+06"})]
"""0 turns it off."""
