"""The bare loop: consume, decode with fastavro, call, commit; nothing else."""

from __future__ import annotations

import json
import sys
import time
from io import BytesIO
from typing import Any

from confluent_kafka import Consumer
from fastavro import parse_schema, schemaless_reader

from benchmarks.jobs import noop


def main(bootstrap: str, topic: str, group: str, schema: str, count: int) -> None:
    parsed: Any = parse_schema(json.loads(schema))
    servers = {"bootstrap.servers": bootstrap, "group.id": group}
    options = {"auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**servers, **options, "fetch.queue.backoff.ms": 10})
    consumer.subscribe([topic])
    done, began, call = 0, 0.0, noop.definition.function
    while done < count:
        messages = consumer.consume(1000, 0.1)
        began = began or (time.perf_counter() if messages else 0.0)
        for message in messages:
            job: Any = schemaless_reader(BytesIO((message.value() or b"")[10:]), parsed, None)
            call(**job["args"])
        done += len(messages)
        if messages:
            consumer.commit(asynchronous=True)
    print(json.dumps({"jobs": done, "seconds": time.perf_counter() - began}))
    consumer.close()


if __name__ == "__main__":
    _, where, source, member, avro, jobs = sys.argv
    main(where, source, member, avro, int(jobs))
