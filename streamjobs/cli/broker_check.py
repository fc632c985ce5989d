"""Whether there is a broker, asked before anything else is."""

from __future__ import annotations

from streamjobs.settings import Settings

# With the start of the program, on a busy machine too, this stays under the promised 15 s.
CONNECT_TIMEOUT = 10.0


def connect(settings: Settings) -> None:
    """Return when a broker answers.

    Raises:
        BrokerUnavailable: none does; one clear line.
        AuthenticationError: one does, and refuses us.
    """
    from streamjobs.kafka.failures import require_broker

    require_broker(settings, CONNECT_TIMEOUT)
