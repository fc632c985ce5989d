"""Bare encode + produce: fastavro into a buffer, ``produce``, ``flush``. Nothing is checked."""

from __future__ import annotations

import json
import sys
import time
import uuid
from io import BytesIO

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

from benchmarks.jobs import arguments


def main(bootstrap: str, topic: str, schema: str, prefix: bytes, count: int) -> None:
    parsed = parse_schema(json.loads(schema))
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
        }
    )
    # Connections, metadata and a producer id are there before the clock starts.
    producer.produce(topic, prefix)
    assert producer.flush() == 0
    began = time.perf_counter()
    for args in arguments(count):
        record = {
            "id": str(uuid.uuid4()),
            "job": "noop",
            "enqueued_at": int(time.time() * 1e6),
            "options": None,
            "args": args,
        }
        buffer = BytesIO()
        buffer.write(prefix)
        schemaless_writer(buffer, parsed, record)
        while True:
            try:
                producer.produce(topic, buffer.getvalue(), args["customer"].encode())
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush() == 0
    print(json.dumps({"jobs": count, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    _, where, into, avro, head, jobs = sys.argv
    main(where, into, avro, bytes.fromhex(head), int(jobs))
