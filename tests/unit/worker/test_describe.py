from __future__ import annotations

from streamjobs.topics import HEADER_ROOM
from streamjobs.worker.describe import describe


def caught(raiser: object) -> BaseException:
    try:
        raiser()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_type_message_and_the_line_that_raised_are_told() -> None:
    def raiser() -> None:
        raise KeyError("lost")

    failure = describe(caught(raiser), skip=1)

    assert (failure.type, failure.message) == ("KeyError", "'lost'")
    assert 'raise KeyError("lost")' in failure.trace
    assert "in caught" not in failure.trace
    assert failure.trace.endswith("KeyError: 'lost'\n")


def test_a_users_exception_carries_its_module() -> None:
    class OwnError(Exception): ...

    assert describe(OwnError()).type.endswith(".OwnError")
    assert __name__.rsplit(".", maxsplit=1)[-1] in describe(OwnError()).type


def test_the_members_of_a_group_are_told_with_their_lines() -> None:
    def raiser() -> None:
        inner = ExceptionGroup("in", [TypeError("deep")])
        raise BaseExceptionGroup("both", [caught(failing), inner])

    def failing() -> None:
        raise ValueError("of the first")

    trace = describe(caught(raiser)).trace

    assert "ExceptionGroup: both (2 sub-exceptions)\n\n1 of 2 in it:\n" in trace
    assert 'raise ValueError("of the first")' in trace
    assert "2 of 2 in it:\n\nExceptionGroup: in (1 sub-exception)\n" in trace
    assert trace.endswith("1 of 1 in it:\n\nTypeError: deep\n")


def test_a_group_that_hides_its_members_or_has_many_is_told_all_the_same() -> None:
    class HidingError(ExceptionGroup[Exception]):
        def __getattribute__(self, name: str) -> object:
            if name == "exceptions":
                raise SystemExit(name)
            return super().__getattribute__(name)

    assert describe(HidingError("hidden", [ValueError()])).type.endswith("HidingError")
    crowd = ExceptionGroup("crowd", [ExceptionGroup("in", [ValueError("x" * 900)] * 99)] * 99)
    assert len(describe(crowd).trace) < 9_000


def test_causes_come_first() -> None:
    def raiser() -> None:
        try:
            raise ValueError("root")
        except ValueError as error:
            raise RuntimeError("outcome") from error

    trace = describe(caught(raiser)).trace

    assert trace.index("ValueError: root") < trace.index("direct cause") < trace.index("outcome")


def test_a_suppressed_context_stays_out() -> None:
    def raiser() -> None:
        try:
            raise ValueError("root")
        except ValueError:
            raise RuntimeError("outcome") from None

    assert "root" not in describe(caught(raiser)).trace


def test_a_ring_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert describe(first).trace.startswith("[...]")


def test_an_exception_that_cannot_be_printed_is_told_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

    assert describe(MuteError()).message == (
        "(its message cannot be read: __str__ raised SystemExit)"
    )


def test_ten_megabytes_of_message_and_deep_recursion_stay_within_the_headers_room() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise ValueError("\N{GRINNING FACE}" * 10_000_000)
        dive(depth - 1)

    failure = describe(caught(lambda: dive(500)))

    text = failure.type + failure.message + failure.trace
    assert len(text.encode()) < HEADER_ROOM // 2
    assert failure.message.endswith("[...]")
