"""Settings: what wins, what is refused, and that all of it is said at once."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from streamjobs.errors import SettingsError
from streamjobs.settings import Settings, hide_userinfo, load_settings

CANARY = "c4n4ry-p4ssw0rd"


def test_defaults_stand_on_their_own() -> None:
    settings = load_settings({})

    assert settings.bootstrap_servers == "localhost:9092"
    assert settings.group_protocol == "auto"
    assert settings.delivery == "transactional"
    assert (settings.namespace, settings.schema_registry_url, settings.app) == (None, None, None)
    assert settings.kafka == {}


def test_the_environment_wins_over_code() -> None:
    environ = {
        "STREAMJOBS_BOOTSTRAP_SERVERS": "b1:1,b2:2",
        "STREAMJOBS_NAMESPACE": "staging",
        "STREAMJOBS_KAFKA_SASL_USERNAME": "env",
    }

    settings = load_settings(
        environ,
        bootstrap_servers="code:9092",
        delivery="idempotent",
        kafka={"sasl.username": "code", "linger.ms": 7, "socket.keepalive.enable": True},
    )

    assert settings.bootstrap_servers == "b1:1,b2:2"
    assert settings.namespace == "staging"
    assert settings.delivery == "idempotent"
    assert settings.kafka == {
        "sasl.username": "env",
        "linger.ms": "7",
        "socket.keepalive.enable": "true",
    }


def test_a_variable_set_to_nothing_is_not_set() -> None:
    settings = load_settings({"STREAMJOBS_NAMESPACE": "", "STREAMJOBS_KAFKA_SASL_USERNAME": ""})

    assert settings == Settings()


def test_variables_that_are_read_elsewhere_are_let_alone() -> None:
    environ = {
        "STREAMJOBS_TEST_BOOTSTRAP": "x",
        "STREAMJOBS_TEST_PROTOCOLS": "x",
        "STREAMJOBS_KAFKA_IMAGE": "apache/kafka",
        "STREAMJOBS_CACHE_DIR": "x",
        "STREAMJOBS_FAILPOINT_COMMIT": "x",
        "PATH": "x",
    }

    assert load_settings(environ) == Settings()


def test_every_problem_is_reported_at_once() -> None:
    environ = {
        "STREAMJOBS_BOOTSRAP_SERVERS": "x:1",
        "STREAMJOBS_DELIVERY": "exactly-once",
        "STREAMJOBS_KAFKA_ACKS": "1",
        "STREAMJOBS_KAFKA_SESSION_TIMEOUT_MS": "300000",
    }

    with pytest.raises(SettingsError) as caught:
        load_settings(environ, namespace="Shop!", bootstrap_server="typo", kafka={"a": None})

    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 7
    assert "STREAMJOBS_BOOTSRAP_SERVERS: there is no such setting" in problems
    assert "did you mean STREAMJOBS_BOOTSTRAP_SERVERS?" in problems
    assert "STREAMJOBS_DELIVERY: Input should be 'transactional' or 'idempotent'" in problems
    assert "namespace: namespace name 'Shop!'" in problems
    assert "bootstrap_server: there is no such setting; did you mean bootstrap_servers?" in problems
    assert "acks=1: must be all" in problems
    assert "session.timeout.ms=300000 must be below max.poll.interval.ms=300000" in problems
    assert "kafka: 'a' must be a property's name" in problems


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("enable.auto.offset.store", True, "must be false"),
        ("enable.auto.commit", "1", "must be false"),
        ("auto.commit.enable", "true", "must be false"),
        ("partitioner", "consistent_random", "must be murmur2_random"),
        ("enable.idempotence", False, "must be true"),
        ("acks", 1, "must be all"),
        ("request.required.acks", "0", "must be all"),
        ("isolation.level", "read_uncommitted", "must be read_committed"),
        ("enable.partition.eof", "f", "must be true"),
        ("auto.offset.reset", "latest", "must be earliest"),
        ("allow.auto.create.topics", "true", "must be false"),
        ("group.id", "mine", "cannot be set"),
        ("transactional.id", "mine", "cannot be set"),
        ("bootstrap.servers", "x:1", "set STREAMJOBS_BOOTSTRAP_SERVERS"),
        ("partition.assignment.strategy", "roundrobin", "cannot be set"),
        ("session.timeout.ms", "soon", "number of milliseconds"),
        ("max.poll.interval.ms", 15_000, "must be below"),
    ],
)
def test_properties_that_break_a_guarantee_are_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(SettingsError, match=wanted) as caught:
        load_settings({}, kafka={name: value})

    assert len(caught.value.problems) == 1
    assert name in caught.value.problems[0]


@pytest.mark.parametrize(("name", "value"), [("acks", "-1"), ("enable.idempotence", "True")])
def test_other_spellings_of_the_same_value_are_fine(name: str, value: str) -> None:
    assert load_settings({}, kafka={name: value}).kafka == {name: value}


def test_a_session_timeout_belongs_to_the_broker_under_kip_848() -> None:
    with pytest.raises(SettingsError, match="topics apply --session-timeout"):
        load_settings({}, group_protocol="consumer", kafka={"session.timeout.ms": 6000})


@pytest.mark.parametrize("servers", ["", "a b:1", "h:70000", "h:port", "h:1,,g:2"])
def test_what_is_no_address_is_refused(servers: str) -> None:
    with pytest.raises(SettingsError, match="bootstrap_servers"):
        load_settings({}, bootstrap_servers=servers)


@pytest.mark.parametrize("servers", ["h", "h:1", "10.0.0.1:1, [::1]:2", "SASL_SSL://h:1"])
def test_addresses_as_kafka_writes_them_are_taken(servers: str) -> None:
    assert load_settings({}, bootstrap_servers=servers).bootstrap_servers


@pytest.mark.parametrize(("field", "bad"), [("schema_registry_url", "ftp://x"), ("app", "shop:")])
def test_other_values_that_cannot_be(field: str, bad: str) -> None:
    with pytest.raises(SettingsError, match=field):
        load_settings({}, **{field: bad})


def test_secrets_are_in_no_repr() -> None:
    settings = load_settings(
        {"STREAMJOBS_KAFKA_SSL_KEY_PASSWORD": CANARY},
        schema_registry_url=f"https://me:{CANARY}@registry:8081/x",
        kafka={"sasl.password": CANARY},
    )

    for text in (repr(settings), str(settings), f"{settings}", f"{settings!r}"):
        assert CANARY not in text
        assert "registry:8081" in text
        assert "sasl.password" in text
    assert settings.kafka["sasl.password"] == CANARY


def test_secrets_are_in_no_error() -> None:
    environ = {
        "STREAMJOBS_SCHEMA_REGISTRY_URL": f"ftp://me:{CANARY}@registry",
        "STREAMJOBS_BOOTSTRAP_SERVERS": f"me:{CANARY}@host:9092",
        "STREAMJOBS_KAFKA_SASL_PASSWORD": CANARY,
        "STREAMJOBS_NOPE": CANARY,
    }

    with pytest.raises(SettingsError) as caught:
        load_settings(environ, kafka={"sasl.username": (CANARY,)})

    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h:1/x", "http://***@h:1/x"),
        ("http://u:p/w,@d@h", "http://***@h"),
        ("u:p@h:1", "***@h:1"),
        ("h1:1,h2:2", "h1:1,h2:2"),
    ],
)
def test_userinfo_is_hidden(text: str, shown: str) -> None:
    assert hide_userinfo(text) == shown


def test_settings_cannot_be_changed_and_travel_to_child_processes() -> None:
    settings = load_settings({}, kafka={"linger.ms": 1})

    with pytest.raises(ValueError, match="frozen"):
        settings.delivery = "idempotent"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301


def test_a_name_for_static_membership_is_one_that_kafka_takes() -> None:
    assert load_settings({"STREAMJOBS_GROUP_INSTANCE_ID": "mail-0"}).group_instance_id == "mail-0"
    with pytest.raises(SettingsError, match="STREAMJOBS_GROUP_INSTANCE_ID: 'mail/0' has to be"):
        load_settings({"STREAMJOBS_GROUP_INSTANCE_ID": "mail/0"})
    with pytest.raises(SettingsError, match="set STREAMJOBS_GROUP_INSTANCE_ID"):
        load_settings({}, kafka={"group.instance.id": "mail-0"})
