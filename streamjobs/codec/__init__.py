"""Hints to Avro, and bytes to jobs and back; the only importer of fastavro."""

from streamjobs.codec.decode import Decoder, Description
from streamjobs.codec.encode import Encoder
from streamjobs.codec.ids import is_id, new_id
from streamjobs.codec.schema import fingerprint, same_logical_types
from streamjobs.codec.store import (
    CONFLUENT,
    CONFLUENT_SIZE,
    SINGLE_OBJECT,
    SINGLE_OBJECT_SIZE,
    MemorySchemaStore,
    SchemaStore,
    check_same_meaning,
    single_object_prefix,
)

__all__ = [
    "CONFLUENT",
    "CONFLUENT_SIZE",
    "SINGLE_OBJECT",
    "SINGLE_OBJECT_SIZE",
    "Decoder",
    "Description",
    "Encoder",
    "MemorySchemaStore",
    "SchemaStore",
    "check_same_meaning",
    "fingerprint",
    "is_id",
    "new_id",
    "same_logical_types",
    "single_object_prefix",
]
