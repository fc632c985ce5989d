"""The broker inside librdkafka: in memory, on a real port, there wherever confluent-kafka is."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from typing import Literal

import confluent_kafka
from confluent_kafka import cimpl

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.broker import Broker
from streamjobs.topics import TopicSpec
from streamjobs.wording import counted

# Measured with librdkafka 2.16.0; a test holds the sharpest of them.
LIMITS = """\
The embedded broker (librdkafka's in-memory cluster) is for trying things out. Its limits:
  - it forgets everything when it ends, and, silently, all but the last 5 MiB of each partition;
  - transactions return ok, yet they neither store offsets nor hide aborted records nor fence:
    use STREAMJOBS_DELIVERY=idempotent, and never judge loss or exactly-once by it;
  - topics cannot be administered and their settings do not count; unknown topics come into being;
  - offsets cannot be looked up by time;
  - classic groups notice a dead member only after session.timeout.ms: set a short one (2000)."""

_ERROR_BYTES = 512
_PRODUCER = 0  # rd_kafka_type_t
_CONF_OK = 0  # rd_kafka_conf_res_t

# name: (result, arguments), as librdkafka's rdkafka.h and rdkafka_mock.h declare them.
_P, _I, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "rd_kafka_conf_new": (_P, ()),
    "rd_kafka_conf_set": (_I, (_P, _S, _S, _S, ctypes.c_size_t)),
    "rd_kafka_conf_destroy": (None, (_P,)),
    "rd_kafka_new": (_P, (_I, _P, _S, ctypes.c_size_t)),
    "rd_kafka_destroy": (None, (_P,)),
    "rd_kafka_err2str": (_S, (_I,)),
    "rd_kafka_mock_cluster_new": (_P, (_P, _I)),
    "rd_kafka_mock_cluster_destroy": (None, (_P,)),
    "rd_kafka_mock_cluster_bootstraps": (_S, (_P,)),
    "rd_kafka_mock_topic_create": (_I, (_P, _S, _I, _I)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_P, ctypes.c_int32)),
}


class Library:
    """librdkafka's functions, as far as they are needed, from the file Python has loaded."""

    def __init__(self, path: str) -> None:
        """Find every function.

        Raises:
            BrokerSetupError: when one is missing: librdkafka without its mock cluster, or linked
                in with its names hidden.
        """
        try:
            self._library = ctypes.CDLL(path)
            for name, (result, arguments) in _SIGNATURES.items():
                function = self._library[name]
                function.restype, function.argtypes = result, list(arguments)
                setattr(self._library, name, function)
        except (OSError, AttributeError) as error:
            raise BrokerSetupError(
                f"no embedded broker in this build of confluent-kafka "
                f"{confluent_kafka.__version__} ({error}): install its wheel from PyPI "
                "(pip install --force-reinstall confluent-kafka), or use --engine kafka"
            ) from error

    def call(self, name: str, *arguments: object) -> int | bytes | None:
        """Call one of the functions above; a pointer comes back as a number."""
        answer: int | bytes | None = getattr(self._library, name)(*arguments)
        return answer


class EmbeddedBroker(Broker):
    """An in-memory cluster that lives in threads of this process and ends with it."""

    engine: Literal["kafka", "embedded"] = "embedded"

    def __init__(self, library: Library, brokers: int) -> None:
        """Start it.

        Raises:
            BrokerSetupError: when librdkafka cannot create it.
        """
        self._library = library
        handle = _handle(library)
        cluster = library.call("rd_kafka_mock_cluster_new", handle, brokers)
        if not isinstance(cluster, int):
            library.call("rd_kafka_destroy", handle)
            raise BrokerSetupError("librdkafka could not start its in-memory cluster")
        self._end = weakref.finalize(self, _end, os.getpid(), library, handle, cluster)
        self._cluster, self._copies = cluster, brokers
        # The first member of a group may have everything at once, not after 3 s.
        library.call("rd_kafka_mock_group_initial_rebalance_delay_ms", cluster, 0)
        address = library.call("rd_kafka_mock_cluster_bootstraps", cluster)
        super().__init__(address.decode() if isinstance(address, bytes) else "")

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics with their partition counts; settings do not count here.

        Raises:
            BrokerSetupError: when it refuses one, or has been stopped.
        """
        if not self._end.alive:
            raise BrokerSetupError("the embedded broker has been stopped")
        for spec in specs:
            code = self._library.call(
                "rd_kafka_mock_topic_create",
                self._cluster,
                spec.name.encode(),
                spec.partitions,
                self._copies,
            )
            if code not in (0, confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS):
                raise BrokerSetupError(
                    f"the embedded broker did not create topic {spec.name} "
                    f"with {counted(spec.partitions, 'partition')}: {self._reason(code)}"
                )

    def stop(self) -> None:
        """End it; everything in it is gone."""
        self._end()

    def _reason(self, code: object) -> str:
        text = self._library.call("rd_kafka_err2str", code)
        return text.decode() if isinstance(text, bytes) else str(code)


def start_embedded(*, nodes: int = 1) -> EmbeddedBroker:
    """Start an in-memory cluster; its limits are in ``LIMITS``.

    Raises:
        BrokerSetupError: when this build of confluent-kafka has none.
    """
    return EmbeddedBroker(Library(cimpl.__file__), nodes)


def _handle(library: Library) -> int:
    """Create the client handle that a mock cluster hangs on; it connects to nothing."""
    conf = library.call("rd_kafka_conf_new")
    problem = ctypes.create_string_buffer(_ERROR_BYTES)
    # Silent: this client has no bootstrap servers and would say so.
    done = library.call("rd_kafka_conf_set", conf, b"log_level", b"0", problem, _ERROR_BYTES)
    handle = None
    if done == _CONF_OK:
        handle = library.call("rd_kafka_new", _PRODUCER, conf, problem, _ERROR_BYTES)
    if not isinstance(handle, int):
        library.call("rd_kafka_conf_destroy", conf)  # rd_kafka_new takes it over only if it works
        raise BrokerSetupError(f"librdkafka: {problem.value.decode(errors='replace')}")
    return handle


def _end(owner: int, library: Library, handle: int, cluster: int) -> None:
    """Destroy the cluster; nothing in a forked process, which does not have its threads."""
    if os.getpid() == owner:
        library.call("rd_kafka_mock_cluster_destroy", cluster)
        library.call("rd_kafka_destroy", handle)
