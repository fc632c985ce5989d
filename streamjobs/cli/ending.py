"""How a worker's process ends, and what its log tells when it is ended by a signal of its own."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler


def tell_where_it_crashed() -> None:
    """Have each thread's place written to stderr when a library ends the process by a fault."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # there may be no stderr
        faulthandler.enable()


def skip_exit_handlers() -> None:
    """Have the process end at ``exit`` without the handlers that C libraries have left for it.

    A worker that could not wait for a client has left its threads behind (``kafka.group``,
    ``kafka.bounded``). When such a thread ends while the handler of OpenSSL in librdkafka frees
    what threads hold (OPENSSL_cleanup, init_thread_deregister), the process is ended by SIGSEGV,
    with all done: a campaign saw it once, of a worker that was stopped while a broker was down.

    Handlers are called last first, so this one, called once all clients have been made, comes
    before OpenSSL's and is the last. Python's own ``atexit`` has been through by then; its files
    are flushed, and so is what C libraries of jobs have printed. Their own handlers are not called.
    What is not glibc has no ``on_exit``: there all is as it was.
    """
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        library.on_exit(library["_exit"], None)
        atexit.register(library.fflush, None)
