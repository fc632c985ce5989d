"""The settings of a process: environment over code, every problem reported at once.

======================================  ===================================================
``STREAMJOBS_BOOTSTRAP_SERVERS``        ``host:port,…`` of the brokers; ``localhost:9092``
``STREAMJOBS_NAMESPACE``                prefix of topics and groups instead of the app's name
``STREAMJOBS_GROUP_PROTOCOL``           ``auto`` (default), ``consumer`` (KIP-848), ``classic``
``STREAMJOBS_GROUP_INSTANCE_ID``        a name of this process for static membership
``STREAMJOBS_DELIVERY``                 ``transactional`` (default), ``idempotent``
``STREAMJOBS_SCHEMA_REGISTRY_URL``      a Confluent-compatible registry; default: none
``STREAMJOBS_APP``                      ``module:app`` for the command line
``STREAMJOBS_KAFKA_…``                  any librdkafka property, dots as underscores
======================================  ===================================================

A variable that is set to nothing counts as not set. Values of librdkafka properties can be secrets:
they are not shown, but for those that a property may not have; nor is what stands before the ``@``
of a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from streamjobs.errors import DefinitionError, SettingsError
from streamjobs.topics import check_name

DEFAULT_BOOTSTRAP = "localhost:9092"
SESSION_TIMEOUT_MS = 15_000
MAX_POLL_INTERVAL_MS = 300_000

_PREFIX = "STREAMJOBS_"
_KAFKA_PREFIX = "STREAMJOBS_KAFKA_"
# Read elsewhere: development brokers, tests, fault injection.
_ELSEWHERE = frozenset(
    {
        "STREAMJOBS_TEST_BOOTSTRAP",
        "STREAMJOBS_TEST_PROTOCOLS",
        "STREAMJOBS_KAFKA_IMAGE",
        "STREAMJOBS_CACHE_DIR",
    }
)
_FAILPOINTS = "STREAMJOBS_FAILPOINT"

_SERVER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_TRUE, _FALSE = frozenset({"true", "t", "1"}), frozenset({"false", "f", "0"})

# What the guarantees stand on: property (and its aliases), the values it may have, what else would
# happen. librdkafka's own defaults are other ones for most of them.
_FIXED: tuple[tuple[tuple[str, ...], frozenset[str], str], ...] = (
    (
        ("enable.auto.offset.store",),
        _FALSE,
        "offsets are stored after jobs have ended, never before",
    ),
    (
        ("enable.auto.commit", "auto.commit.enable"),
        _FALSE,
        "offsets are committed after jobs have ended, never by a timer",
    ),
    (
        ("partitioner",),
        frozenset({"murmur2_random"}),
        "any other splits keys between Python and Java producers and breaks their order",
    ),
    (("enable.idempotence",), _TRUE, "without it a resent batch is stored twice or out of order"),
    (
        ("acks", "request.required.acks"),
        frozenset({"all", "-1"}),
        "fewer lose jobs when a broker dies",
    ),
    (
        ("isolation.level",),
        frozenset({"read_committed"}),
        "aborted moves would run as jobs",
    ),
    (("enable.partition.eof",), _TRUE, "workers learn from it where a partition ends"),
    (
        ("auto.offset.reset",),
        frozenset({"earliest", "smallest", "beginning"}),
        "a new group would skip what was enqueued before it",
    ),
    (
        ("allow.auto.create.topics",),
        _FALSE,
        "brokers would make a topic that was deleted anew, with other partitions than the queue's",
    ),
)
# Properties that have a setting of their own, or that streamjobs chooses per client.
_OWNED = {
    "bootstrap.servers": "set STREAMJOBS_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "set STREAMJOBS_BOOTSTRAP_SERVERS",
    "group.protocol": "set STREAMJOBS_GROUP_PROTOCOL",
    "group.instance.id": "set STREAMJOBS_GROUP_INSTANCE_ID",
    "group.id": "the group of a queue is PREFIX.QUEUE",
    "delivery.report.only.error": "enqueue waits for every report",
    "transactional.id": "every producer makes its own",
    "partition.assignment.strategy": "retry tiers and main need 'range' to land together",
    "group.remote.assignor": "retry tiers and main need 'range' to land together",
}


class Settings(BaseModel):
    """Settings that hold together; made by ``load_settings``.

    Attributes:
        bootstrap_servers: ``host:port`` of brokers, separated by commas.
        namespace: prefix of topics and groups; None: the app's name.
        group_protocol: ``auto`` probes the broker.
        group_instance_id: this process's own name in its groups: started again under it within
            the session, it has its partitions back and nobody else's move (Kafka's static
            membership). Two processes of one name cut each other off. None: a member by chance.
        delivery: ``idempotent`` is for brokers without transactions.
        schema_registry_url: None: schemas live in the compacted topic ``PREFIX.schemas``.
        app: ``module:app``, for the command line.
        kafka: librdkafka properties as Kafka spells them, dots and all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: str = DEFAULT_BOOTSTRAP
    namespace: str | None = None
    group_protocol: Literal["auto", "consumer", "classic"] = "auto"
    group_instance_id: str | None = None
    delivery: Literal["transactional", "idempotent"] = "transactional"
    schema_registry_url: str | None = None
    app: str | None = None
    kafka: Mapping[str, str] = {}

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        for server in (part.strip() for part in value.split(",")):
            match = _SERVER.fullmatch(server)
            if match is None or int(match[1] or 9092) > 65_535:
                shown = hide_userinfo(server)
                raise ValueError(f"{shown!r} is no host:port; write host1:9092,host2:9092")
        return value.replace(" ", "")

    @field_validator("namespace")
    @classmethod
    def _namespace(cls, value: str | None) -> str | None:
        try:
            return value if value is None else check_name("namespace", value)
        except DefinitionError as error:
            raise ValueError(str(error)) from error

    @field_validator("group_instance_id")
    @classmethod
    def _instance(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value):
            raise ValueError(f"{value!r} has to be 1 to 249 of letters, digits, '.', '_' and '-'")
        return value

    @field_validator("schema_registry_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/]+\S*", value):
            raise ValueError(f"{hide_userinfo(value)!r} is no http:// or https:// address")
        return value

    @field_validator("app")
    @classmethod
    def _app(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.]+(:[\w.]+)?", value):
            raise ValueError(f"{value!r} is not of the form module:app, nor a module with one App")
        return value

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show every setting, but of librdkafka properties the names alone."""
        for name, value in super().__repr_args__():
            if name == "kafka":
                yield name, sorted(self.kafka)
            else:
                yield name, hide_userinfo(value) if isinstance(value, str) else value

    def __str__(self) -> str:
        return repr(self)


def hide_userinfo(text: str) -> str:
    """Return a URL or server list without what stands before its last ``@``."""
    head, at, tail = text.rpartition("@")
    scheme = re.match(r"[A-Za-z_][\w+.-]*://", head)
    return f"{scheme[0] if scheme else ''}***@{tail}" if at else text


def load_settings(
    environ: Mapping[str, str] | None = None,
    judge: Callable[[Mapping[str, str]], list[str]] | None = None,
    /,
    **from_code: Any,
) -> Settings:
    """Put the settings of code and environment together; the environment wins.

    Args:
        environ: variables; the process's own when None.
        judge: finds the librdkafka properties that librdkafka itself does not take.
        from_code: fields of ``Settings``; None counts as not given. ``kafka`` takes text, numbers
            and booleans, and is merged with the environment property by property.

    Raises:
        SettingsError: with every problem there is: values that cannot be, unknown names, pairs
            that contradict each other.
    """
    environ = os.environ if environ is None else environ
    values = {name: value for name, value in from_code.items() if value is not None}
    origin = {name: name for name in values}
    kafka, problems = _kafka_from_code(values.pop("kafka", {}))
    for variable, value in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or _is_elsewhere(variable) or not value:
            continue
        name = variable.removeprefix(_PREFIX).lower()
        if variable.startswith(_KAFKA_PREFIX) and variable != _KAFKA_PREFIX:
            kafka[variable.removeprefix(_KAFKA_PREFIX).lower().replace("_", ".")] = value
        elif name in Settings.model_fields and name != "kafka":
            values[name], origin[name] = value, variable
        else:
            problems.append(f"{variable}: there is no such setting{_did_you_mean(variable)}")
    try:
        settings = Settings(**values, kafka=kafka)
    except ValidationError as error:
        problems += [_problem(detail, origin) for detail in error.errors(include_input=False)]
        settings = None
    told = _kafka_problems(kafka, str(values.get("group_protocol", "auto")))
    problems += told
    if judge is not None:
        known = re.findall(r"kafka property ([\w.]+)", "\n".join(told))
        problems += judge({name: kafka[name] for name in kafka if name not in known})
    if problems or settings is None:
        raise SettingsError(*problems)
    return settings


def _is_elsewhere(variable: str) -> bool:
    return variable in _ELSEWHERE or variable.startswith(_FAILPOINTS)


def _did_you_mean(variable: str) -> str:
    known = [_PREFIX + name.upper() for name in Settings.model_fields if name != "kafka"]
    close = get_close_matches(variable, [*known, *_ELSEWHERE], n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _problem(detail: Any, origin: Mapping[str, str]) -> str:
    """Say what is wrong with one field, under the name the user knows it by."""
    field = str(detail["loc"][0])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        close = get_close_matches(field, Settings.model_fields, n=1)
        message = "there is no such setting" + (f"; did you mean {close[0]}?" if close else "")
    return f"{origin.get(field, field)}: {message}"


def _kafka_from_code(given: object) -> tuple[dict[str, str], list[str]]:
    """Turn properties given in code into text, as librdkafka takes them."""
    if not isinstance(given, Mapping):
        return {}, ["kafka: must be a mapping of librdkafka properties to values"]
    kafka: dict[str, str] = {}
    problems = []
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            problems.append(f"kafka: {name!r} must be a property's name, its value text or number")
        else:
            kafka[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return kafka, problems


def _kafka_problems(kafka: Mapping[str, str], group_protocol: str) -> list[str]:
    """Find properties that would break a guarantee, and pairs that cannot be."""
    problems = [
        f"kafka property {name}={kafka[name]}: must be {_wanted(names[0], allowed)}: {why}"
        for names, allowed, why in _FIXED
        for name in names
        if name in kafka and kafka[name].lower() not in allowed
    ]
    problems += [
        f"kafka property {name}: cannot be set; {remedy}"
        for name, remedy in _OWNED.items()
        if name in kafka
    ]
    _number(kafka, "message.max.bytes", 0, "bytes", problems)
    unit = "milliseconds"
    session = _number(kafka, "session.timeout.ms", SESSION_TIMEOUT_MS, unit, problems)
    interval = _number(kafka, "max.poll.interval.ms", MAX_POLL_INTERVAL_MS, unit, problems)
    if session is not None and interval is not None and session >= interval:
        problems.append(
            f"kafka property session.timeout.ms={session} must be below "
            f"max.poll.interval.ms={interval}"
        )
    if group_protocol == "consumer" and "session.timeout.ms" in kafka:
        problems.append(
            "kafka property session.timeout.ms: under group protocol 'consumer' it belongs to the "
            "group's configuration on the broker: "
            "streamjobs -A module:app topics apply --session-timeout"
        )
    return problems


def _wanted(name: str, allowed: frozenset[str]) -> str:
    if allowed is _TRUE or allowed is _FALSE:
        return "true" if allowed is _TRUE else "false"
    return {"acks": "all", "auto.offset.reset": "earliest"}.get(name) or next(iter(allowed))


def _number(
    kafka: Mapping[str, str], name: str, default: int, unit: str, problems: list[str]
) -> int | None:
    try:
        return int(kafka.get(name, default))
    except ValueError:
        problems.append(f"kafka property {name}={kafka[name]}: must be a number of {unit}")
        return None
