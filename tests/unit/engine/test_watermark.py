from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamjobs.engine.watermark import Watermark


def test_nothing_is_committed_before_anything_was_received() -> None:
    assert Watermark().advance() is None


def test_the_lowest_incomplete_offset_is_committed() -> None:
    watermark = Watermark()
    watermark.received([5, 6, 7])

    watermark.complete(6)

    assert watermark.advance() == 5
    watermark.complete(5)
    assert watermark.advance() == 7
    assert watermark.incomplete == 1


def test_gaps_count_as_complete() -> None:
    watermark = Watermark()
    watermark.received([5])
    watermark.received([90])

    watermark.complete(5)

    assert watermark.advance() == 90


def test_the_end_of_a_partition_moves_the_watermark_over_its_tail_of_markers() -> None:
    watermark = Watermark()
    watermark.received([0])
    watermark.ended(2)
    assert watermark.advance() == 0

    watermark.complete(0)

    assert watermark.advance() == 2


def test_an_older_end_does_not_move_the_position_back() -> None:
    watermark = Watermark()
    watermark.received([0, 1, 2])

    watermark.ended(1)

    assert watermark.position == 3


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=60),
    order=st.randoms(use_true_random=False),
)
def test_in_any_order_of_completion_nothing_below_the_watermark_is_incomplete(
    gaps: list[int], order: object
) -> None:
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    watermark = Watermark()
    watermark.received(offsets)
    left = set(offsets)
    shuffled = offsets[:]
    order.shuffle(shuffled)  # type: ignore[attr-defined]

    for offset in shuffled:
        watermark.complete(offset)
        left.discard(offset)
        assert watermark.advance() == min(left, default=offsets[-1] + 1)
        assert watermark.incomplete == len(left)
