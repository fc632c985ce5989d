"""Messages whose headers the client cannot read."""

from __future__ import annotations

from streamjobs.headers import headers_of


class Message:
    """A message as confluent-kafka gives it: a list, nothing, or an error of the interpreter's."""

    def __init__(self, headers: list[tuple[str, bytes | None]] | Exception | None) -> None:
        self._headers = headers

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


def test_what_cannot_be_read_counts_as_none() -> None:
    assert headers_of(Message(SystemError("returned a result with an exception set"))) == ()
    assert headers_of(Message(None)) == ()
    assert headers_of(Message([("a", None)])) == (("a", None),)
