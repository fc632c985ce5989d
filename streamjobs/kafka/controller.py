"""Whether the broker can be reached that administrative requests go to."""

from __future__ import annotations

import contextlib
import socket
import threading

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka.failures import translate
from streamjobs.settings import Settings, hide_userinfo

# Seconds that it may take to be there, for one try to reach it, and between two of them.
PATIENCE, CONNECT_TIMEOUT, PAUSE = 5.0, 1.0, 0.2


def require_controller(client: AdminClient, settings: Settings, topic: str) -> None:
    """Return when the cluster's controller, as its brokers name it, can be reached.

    For one that cannot, librdkafka (2.16) waits in a circle that keeps two of its threads busy
    until the request's timeout is over: with ten seconds of that in every look at the topics an
    outage would take the processors away from the jobs.

    Args:
        client: whose requests.
        settings: of the process.
        topic: some topic, so that not all of them are listed; asking makes none.

    Raises:
        BrokerUnavailable: it cannot be reached.
        StreamjobsError: no broker answers, or it refuses us.
    """
    deadline = monotonic() + PATIENCE
    while not _is_there(client, settings, topic):
        if monotonic() > deadline:
            where = hide_userinfo(settings.bootstrap_servers)
            raise BrokerUnavailable(
                f"the controller of the Kafka cluster at {where} cannot be reached within "
                f"{PATIENCE:g} s: check that its brokers run"
            )
        threading.Event().wait(PAUSE)


def _is_there(client: AdminClient, settings: Settings, topic: str) -> bool:
    try:
        cluster = client.list_topics(topic, timeout=PATIENCE)
    except KafkaException as error:
        raise translate(error, "asking for the cluster's controller", settings) from error
    broker = cluster.brokers.get(cluster.controller_id)
    if broker is None:
        return False
    with contextlib.suppress(OSError):
        socket.create_connection((broker.host, broker.port), CONNECT_TIMEOUT).close()
        return True
    return False
