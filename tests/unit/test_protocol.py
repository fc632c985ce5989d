"""What is concluded from the answers to who joins a throw-away group."""

from __future__ import annotations

import pytest

from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka import protocol
from streamjobs.kafka.protocol import Answer, resolve_protocol
from streamjobs.settings import Settings

YES, NO, SILENT = Answer.ASSIGNED, Answer.UNSUPPORTED, Answer.SILENT


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([YES], "consumer"),
        ([NO], "classic"),
        ([Answer.REFUSED], "classic"),
        # The coordinator was away at first, and has come back meanwhile.
        ([SILENT, YES, YES], "consumer"),
        ([SILENT, YES, NO], "classic"),
        # It is there, and answers the older protocol alone.
        ([SILENT, YES, SILENT], "classic"),
    ],
)
def test_silence_counts_only_where_the_older_protocol_is_answered(
    monkeypatch: pytest.MonkeyPatch, answers: list[Answer], expected: str
) -> None:
    asked: list[tuple[str, str]] = []

    def ask(_: Settings, group: str, __: str, name: str, ___: float) -> Answer:
        asked.append((group, name))
        return answers[len(asked) - 1]

    monkeypatch.setattr(protocol, "_ask", ask)

    assert resolve_protocol(Settings(), "shop.mail") == expected
    assert [name for _, name in asked] == ["consumer", "classic", "consumer"][: len(answers)]
    # All of the same group: another one may have another coordinator
    assert len({group for group, _ in asked}) == 1


def test_where_nobody_answers_nothing_is_concluded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_ask", lambda *_: SILENT)

    with pytest.raises(BrokerUnavailable, match="STREAMJOBS_GROUP_PROTOCOL"):
        resolve_protocol(Settings(), "shop.mail")


def test_what_is_set_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_ask", lambda *_: pytest.fail("asked"))

    assert resolve_protocol(Settings(group_protocol="classic"), "shop.mail") == "classic"
