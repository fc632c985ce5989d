"""What is measured against bare encode + produce: ``enqueue_many`` of checked calls."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.jobs import app, arguments, noop


def main(count: int) -> None:
    with app:
        # Connections, metadata and the writer schema are there before the clock starts.
        assert app.enqueue_many(noop.call(**args) for args in arguments(1)).sent == 1
        began = time.perf_counter()
        summary = app.enqueue_many(noop.call(**args) for args in arguments(count))
        seconds = time.perf_counter() - began
    assert summary.sent == count
    print(json.dumps({"jobs": count, "seconds": seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
