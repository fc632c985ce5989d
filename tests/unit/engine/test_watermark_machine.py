"""Any sequence of records, ends and completions against a model of two sets."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamjobs.engine.watermark import Watermark


class WatermarkMachine(RuleBasedStateMachine):
    """The model: the offsets received, those complete, and how far the partition was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.watermark = Watermark()
        self.received: set[int] = set()
        self.complete: set[int] = set()
        self.seen: int | None = None
        self.advanced: int | None = None

    @property
    def left(self) -> set[int]:
        return self.received - self.complete

    @rule(gaps=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    def receive(self, gaps: list[int]) -> None:
        """A batch, with gaps where markers, aborted or compacted records stand."""
        position = self.seen or 0
        offsets: list[int] = []
        for gap in gaps:
            offsets.append(position + gap)
            position = offsets[-1] + 1
        self.watermark.received(offsets)
        self.received |= set(offsets)
        self.seen = position

    @rule(tail=st.integers(-3, 4))
    def end(self, tail: int) -> None:
        """The end of the partition: past the last record, or one that was overtaken."""
        offset = max(0, (self.seen or 0) + tail)
        self.watermark.ended(offset)
        self.seen = offset if self.seen is None else max(self.seen, offset)

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def complete_one(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.left)))
        self.watermark.complete(offset)
        self.complete.add(offset)

    @precondition(lambda self: self.left)
    @rule()
    def complete_the_lowest(self) -> None:
        offset = min(self.left)
        self.watermark.complete(offset)
        self.complete.add(offset)

    @rule()
    def advance(self) -> None:
        offset = self.watermark.advance()
        assert offset == min(self.left, default=self.seen)
        assert offset is None or all(o in self.complete for o in self.received if o < offset)
        assert self.advanced is None or (offset is not None and offset >= self.advanced)
        self.advanced = offset

    @invariant()
    def counts_what_is_left(self) -> None:
        assert self.watermark.incomplete == len(self.left)
        assert self.watermark.position == self.seen


TestWatermark = WatermarkMachine.TestCase
TestWatermark.settings = settings(
    max_examples=100, stateful_step_count=40, derandomize=True, deadline=None
)
