"""An Apache Kafka that knows rights, and what takes one away from everybody and gives it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export them
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from integration.scene import eventually

from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.testing import need_kafka

PROPERTIES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
# Who comes without a name, as all do here: the broker itself and the test too.
NOBODY = "User:ANONYMOUS"

Acl = tuple[ResourceType, ResourcePatternType, str]


@pytest.fixture(scope="module")
def strict_broker() -> Iterator[Broker]:
    """One Apache Kafka node with an authorizer, by which all is allowed that is not denied."""
    need_kafka(own=True)
    with start_broker("kafka", properties=PROPERTIES) as broker:
        yield broker


def topic(name: str) -> Acl:
    return (ResourceType.TOPIC, ResourcePatternType.LITERAL, name)


def group(name: str) -> Acl:
    return (ResourceType.GROUP, ResourcePatternType.LITERAL, name)


def ids(prefix: str) -> Acl:
    return (ResourceType.TRANSACTIONAL_ID, ResourcePatternType.PREFIXED, prefix)


class Rights:
    """Takes rights away and gives them back; never those to change rights."""

    def __init__(self, broker: Broker) -> None:
        self._admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def deny(self, of: Acl, operation: str) -> None:
        """Let nobody do this; all else is allowed, which has to be said where anything is.

        Waits until the broker has heard of it: the controller says that it is done before that.
        """
        kind, pattern, name = of
        every, one = AclOperation.ALL, AclOperation[operation]
        acls = [
            AclBinding(kind, name, pattern, NOBODY, "*", every, AclPermissionType.ALLOW),
            AclBinding(kind, name, pattern, NOBODY, "*", one, AclPermissionType.DENY),
        ]
        for done in self._admin.create_acls(acls).values():
            done.result(10)
        eventually(lambda: all(self._told(of, acl) for acl in acls), f"{operation} is denied")

    def allow(self, of: Acl) -> None:
        """Let everybody do everything again."""
        kind, pattern, name = of
        every = AclOperation.ANY, AclPermissionType.ANY
        whoever: Any = None  # the stubs want text
        acls = AclBindingFilter(kind, name, pattern, whoever, whoever, *every)
        for done in self._admin.delete_acls([acls]).values():
            assert done.result(10), "there was nothing to give back"

    def _told(self, of: Acl, acl: AclBinding) -> bool:
        """Whether the broker knows it."""
        kind, pattern, name = of
        one = AclBindingFilter(kind, name, pattern, NOBODY, "*", acl.operation, acl.permission_type)
        return bool(self._admin.describe_acls(one).result(10))
