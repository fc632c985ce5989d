"""Which schema store an app has."""

from __future__ import annotations

from streamjobs.codec.store import SchemaStore
from streamjobs.kafka.schema_log import SchemaLog
from streamjobs.settings import Settings
from streamjobs.topics import schemas_topic


def open_store(settings: Settings, prefix: str) -> SchemaStore:
    """Return the Schema Registry that the settings name, else the app's schema log.

    Nothing is asked before the first use.

    Args:
        settings: of the process.
        prefix: the namespace, else the app's name.
    """
    if settings.schema_registry_url is None:
        return SchemaLog(settings, schemas_topic(prefix))
    # It brings an HTTP client and half a second of imports.
    from streamjobs.kafka.schema_registry import RegistryStore

    return RegistryStore(settings)
