from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mulligan.data.order import BatchOrder
from mulligan.errors import UserError

Law = Literal["epoch", "replacement"]
Last = Literal["carry", "short"]

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda pair: (max(pair), min(pair)))
LAWS: st.SearchStrategy[Law] = st.sampled_from(["epoch", "replacement"])
LASTS: st.SearchStrategy[Last] = st.sampled_from(["carry", "short"])


def take(order: BatchOrder, images: int) -> list[int]:
    row: list[int] = []
    while len(row) < images:
        row += order.next().tolist()
    return row


@given(SIZES, st.integers(), LASTS)
def test_every_epoch_is_a_permutation(sizes: tuple[int, int], seed: int, last: Last) -> None:
    n, batch = sizes
    row = take(BatchOrder(n, batch, seed, "epoch", last), 3 * n)
    for epoch in range(3):
        assert sorted(row[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(SIZES, st.integers(), LAWS, LASTS, st.integers(0, 12))
def test_resumes_at_any_position(sizes: tuple[int, int], seed: int, law: Law, last: Last, done: int) -> None:
    n, batch = sizes
    whole = BatchOrder(n, batch, seed, law, last)
    for _ in range(done):
        whole.next()
    resumed = BatchOrder(n, batch, seed, law, last, position=whole.position)
    moved = BatchOrder(n, batch, seed, law, last)
    moved.next()
    moved.position = whole.position
    for _ in range(6):
        expected = whole.next()
        assert torch.equal(resumed.next(), expected)
        assert torch.equal(moved.next(), expected)
    assert whole == resumed


@given(SIZES, st.integers(), LAWS)
def test_carry_and_replacement_are_always_full(sizes: tuple[int, int], seed: int, law: Law) -> None:
    n, batch = sizes
    order = BatchOrder(n, batch, seed, law, "carry")
    for k in range(1, 9):
        indices = order.next()
        assert indices.dtype == torch.int64
        assert len(indices) == batch
        assert int(indices.min()) >= 0
        assert int(indices.max()) < n
        assert order.position == k * batch


def test_short_ends_an_epoch_of_mnist() -> None:
    order = BatchOrder(60_000, 64, 0, "epoch", "short")
    sizes = [len(order.next()) for _ in range(938)]
    assert sizes == [64] * 937 + [32]
    assert order.position == 60_000
    assert len(order.next()) == 64


def test_carry_runs_over_an_epoch_of_mnist() -> None:
    order = BatchOrder(60_000, 64, 0, "epoch", "carry", position=937 * 64)
    across = order.next()
    first = BatchOrder(60_000, 60_000, 0, "epoch", "short")
    assert torch.equal(across, torch.cat([first.next()[-32:], first.next()[:32]]))


def test_epochs_and_seeds_differ() -> None:
    order = BatchOrder(1000, 1000, 0, "epoch", "carry")
    epochs = [order.next() for _ in range(3)]
    assert not any(torch.equal(a, b) for a, b in pairwise(epochs))
    assert not torch.equal(epochs[0], BatchOrder(1000, 1000, 1, "epoch", "carry").next())


def test_replacement_repeats_images() -> None:
    assert len(set(take(BatchOrder(1000, 500, 0, "replacement", "carry"), 1000))) < 750


def test_the_batch_is_the_callers_own() -> None:
    order = BatchOrder(10, 4, 0, "epoch", "carry")
    order.next().zero_()
    again = BatchOrder(10, 4, 0, "epoch", "carry")
    again.next()
    assert torch.equal(order.next(), again.next())


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    BatchOrder(10, 4, 0, "epoch", "carry").next()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("law", ["epoch", "replacement"])
def test_refuses_a_set_smaller_than_a_batch(law: Law) -> None:
    with pytest.raises(UserError, match="the set has 63 images, fewer than a batch of 64"):
        BatchOrder(63, 64, 0, law, "carry")


def test_refuses_impossible_numbers() -> None:
    with pytest.raises(UserError, match="at least 1, got 0"):
        BatchOrder(5, 0, 0, "epoch", "carry")
    with pytest.raises(UserError, match="at least 0, got -1"):
        BatchOrder(5, 1, 0, "epoch", "carry", position=-1)
