"""When a moment is due, against the loops that the tutorials wrote."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan import recipe
from mulligan.data.order import BatchOrder
from mulligan.recipe import Cadence
from mulligan.schedules import due

Counts = Literal["from-zero", "from-one"]
COUNTS: st.SearchStrategy[Counts] = st.sampled_from(["from-zero", "from-one"])


def moments(cadence: Cadence, batches: list[int]) -> list[int]:
    """Which updates, counted from zero, are due when they consume these batches."""
    seen = [0, *accumulate(batches)]
    return [i for i, (before, after) in enumerate(pairwise(seen)) if due(cadence, before, after)]


@pytest.mark.parametrize("name", ["mlp-relu", "mlp-smooth"])
def test_mlp_relu_prints_and_draws_every_thousandth_of_its_steps_from_zero(name: str) -> None:
    read = recipe.read(name)
    steps = read.budget.images // read.data.batch
    assert steps == 100_000
    for cadence in (read.log, read.samples):
        due_at = moments(cadence, [read.data.batch] * steps)
        assert due_at == [i for i in range(steps) if i % 1000 == 0]


def test_mlp_tanh_prints_and_draws_every_step() -> None:
    read = recipe.read("mlp-tanh")
    for cadence in (read.log, read.samples):
        assert moments(cadence, [128] * 50) == list(range(50))


def test_dcgan_softmax_prints_step_1_and_every_hundredth() -> None:
    read = recipe.read("dcgan-softmax")
    printed = [i + 1 for i in moments(read.log, [read.data.batch] * 2000)]
    assert printed == [i for i in range(1, 2001) if i % 100 == 0 or i == 1]
    assert moments(read.samples, [read.data.batch] * 2000) == []  # its one picture comes at the end


def test_mlp_batchnorm_counts_epochs_across_short_batches() -> None:
    read = recipe.read("mlp-batchnorm")
    order = BatchOrder(60_000, read.data.batch, 0, read.data.order, read.data.last)
    epoch = [len(order.next()) for _ in range(938)]
    assert epoch[-1] == 32
    batches = epoch * 100
    assert (sum(batches), len(batches)) == (read.budget.images, 93_800)
    last_of_each = [938 * k - 1 for k in range(1, 101)]
    assert moments(read.log, batches) == last_of_each
    assert moments(read.samples, batches) == last_of_each


@given(batch=st.integers(1, 300), each=st.integers(1, 40), steps=st.integers(1, 400), first=st.booleans())
def test_multiples_of_the_batch_count_as_loops_do(batch: int, each: int, steps: int, first: bool) -> None:
    every, batches = each * batch, [batch] * steps
    zero = Cadence(every=every, counts="from-zero")
    assert moments(zero, batches) == [i for i in range(steps) if i % each == 0]
    one = Cadence(every=every, counts="from-one", first=first)
    assert moments(one, batches) == [
        i - 1 for i in range(1, steps + 1) if i % each == 0 or (first and i == 1)
    ]


@given(
    batches=st.lists(st.integers(1, 70), max_size=60),
    every=st.integers(1, 200),
)
def test_no_multiple_is_missed_or_told_twice(batches: list[int], every: int) -> None:
    """An update is due when a multiple of ``every`` lies in (before, after]."""
    seen = [0, *accumulate(batches)]
    expected = [
        i
        for i, (before, after) in enumerate(pairwise(seen))
        if any(image % every == 0 for image in range(before + 1, after + 1))
    ]
    assert moments(Cadence(every=every), batches) == expected


@given(
    every=st.integers(1, 50),
    most=st.integers(1, 20),
    batch=st.integers(1, 200),
    doublings=st.integers(0, 6),
    counts=COUNTS,
)
def test_most_bounds_the_count(every: int, most: int, batch: int, doublings: int, counts: Counts) -> None:
    """At most ``most`` in the first most × every images, and as many more at each doubling of the run."""
    cadence = Cadence(every=every, most=most, counts=counts)
    images = most * every * 2**doublings
    due_at = moments(cadence, [batch] * (images // batch))
    assert len(due_at) <= most * (1 + doublings)
    if batch == 1 and counts == "from-zero":
        assert sum(i < most * every for i in due_at) == most  # none is lost before


@pytest.mark.parametrize(
    ("most", "expected"), [(4, [0, 10, 20, 30, 40, 60, 80, 120, 160]), (3, [0, 10, 20, 40, 80, 160])]
)
def test_a_run_far_past_its_budget_slows_down(most: int, expected: list[int]) -> None:
    cadence = Cadence(every=10, most=most, counts="from-zero")
    assert moments(cadence, [1] * 200) == expected


def test_zero_is_never() -> None:
    assert moments(Cadence(every=0, first=True, counts="from-zero"), [7] * 100) == []


@given(
    batches=st.lists(st.integers(1, 70), min_size=1, max_size=40),
    every=st.integers(1, 100),
    most=st.integers(1, 5),
    counts=COUNTS,
    data=st.data(),
)
def test_what_is_due_does_not_depend_on_what_was(
    batches: list[int], every: int, most: int, counts: Counts, data: st.DataObject
) -> None:
    """Asked again, in another order and by an equal cadence, the answers are the same."""
    cadence = Cadence(every=every, most=most, counts=counts)
    updates = list(pairwise([0, *accumulate(batches)]))
    told = {update: due(cadence, *update) for update in updates}
    for update in data.draw(st.permutations(updates)):
        assert due(Cadence(every=every, most=most, counts=counts), *update) == told[update]
