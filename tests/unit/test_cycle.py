"""A cycle that no broker answers."""

from __future__ import annotations

import pytest

from streamjobs.clock import monotonic
from streamjobs.kafka import cycle
from streamjobs.kafka.cycle import TransactionalProducer
from streamjobs.kafka.outcome import CycleFailed
from streamjobs.settings import load_settings
from streamjobs.worker.commit import Onward


def test_a_new_producer_does_not_wait_for_its_brokers_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given brokers that are away
    monkeypatch.setattr(cycle, "BEGIN_PATIENCE", 0.2)
    monkeypatch.setattr(cycle, "CALL_TIMEOUT", 0.1)
    producer = TransactionalProducer(
        load_settings({}, bootstrap_servers="127.0.0.1:1"), "shop.mail"
    )

    # when a cycle is sent, then it has not begun, and may be sent again with the same producer
    for _ in range(2):
        began = monotonic()
        with pytest.raises(CycleFailed, match="not begun") as caught:
            producer.send([Onward("shop.mail", 0, None, b"v")], [], None, lambda: None)
        assert monotonic() - began < 30
        assert not caught.value.fatal
