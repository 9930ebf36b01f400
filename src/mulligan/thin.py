"""Products that a library does badly, written as what a compiler does well.

A matrix product with a side of one is a sum; a compiler joins it to its neighbours, where a call to
a library would cost more than the arithmetic. The gradient of a convolution by an image of few channels
is, in the library, up to ten times slower than by one product and a sum of overlapping patches.

These are decompositions for ``make_fx``: each returns ``NotImplemented`` for what the library does well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

FEW = 4  # channels: below, a vector unit has nothing to do

aten = torch.ops.aten


def mm(a: Tensor, b: Tensor) -> Any:
    """``[M, K] @ [K, N]`` where M, N or K is 1."""
    wide = torch.promote_types(a.dtype, torch.float32)
    if a.shape[1] == 1:
        return a * b
    if b.shape[1] == 1:
        return (a.to(wide) * b.to(wide).t()).sum(1, keepdim=True).to(a.dtype)
    if a.shape[0] == 1:
        return (a.to(wide).t() * b.to(wide)).sum(0, keepdim=True).to(a.dtype)
    return NotImplemented


def addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """``bias + a @ b``, likewise."""
    if beta != 1 or alpha != 1 or 1 not in (*a.shape, b.shape[1]):
        return NotImplemented
    return mm(a, b) + bias


def norms(tensors: list[Tensor], order: float = 2) -> Any:
    """The Euclidean norm of each of some tensors."""
    if order != 2:
        return NotImplemented
    return [
        x.to(torch.promote_types(x.dtype, torch.float32)).square().sum().sqrt().to(x.dtype) for x in tensors
    ]


def convolution_backward(gradient: Tensor, image: Tensor, weight: Tensor, *how: Any) -> Any:
    """The gradients of a convolution, that by the image as a product and a sum of patches.

    ``gradient`` is ``[B, O, h, w]``, ``image`` ``[B, I, H, W]`` and ``weight`` ``[O, I, k, k]``.
    """
    _, stride, padding, dilation, transposed, _, groups, (wants_image, *wanted) = how
    if transposed or groups != 1 or image.shape[1] > FEW or not wants_image:
        return NotImplemented
    out = weight.shape[0]
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, out)  # [B·h·w, O]
    patches = (rows @ weight.reshape(out, -1)).view(len(gradient), -1, weight[0].numel())  # [B, h·w, I·k·k]
    by_image = aten.col2im(
        patches.transpose(1, 2), image.shape[2:], weight.shape[2:], dilation, padding, stride
    )
    by_weight = by_bias = None
    if any(wanted):
        _, by_weight, by_bias = aten.convolution_backward(
            gradient, image, weight, *how[:-1], [False, *wanted]
        )
    return by_image, by_weight, by_bias


def embedding_dense_backward(gradient: Tensor, rows: Tensor, total: int, padding: int, by_count: bool) -> Any:
    """The gradient ``[K, F]`` of a table by that of the rows ``[B, F]`` that were taken from it."""
    if padding >= 0 or by_count or rows.dim() != 1:
        return NotImplemented
    return one_hot(rows, total).to(gradient.dtype).t() @ gradient


TABLE: dict[Any, Callable[..., Any]] = {
    aten.mm.default: mm,
    aten.addmm.default: addmm,
    aten._foreach_norm.Scalar: norms,
    aten.convolution_backward.default: convolution_backward,
}
STEADY: dict[Any, Callable[..., Any]] = {  # on every device: an order of additions that is always the same
    aten.embedding_dense_backward.default: embedding_dense_backward,
}
