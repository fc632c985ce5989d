"""One child process, as its parent holds it: two pipes of their own, and how it ended.

It is started by exec of a fresh interpreter, since clients and their threads do not survive a fork,
and inherits nothing but the two pipes and the standard streams. It is the leader of a process group
of its own: Ctrl-C in the terminal does not reach it, and what its jobs started can be ended
with it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from streamjobs.executors.frames import Frame, Unpacker, pack

# Seconds that a child may take to end when it is asked to, and when it has closed its pipe.
END_PATIENCE = 2.0
CHUNK = 65_536


class ChildGone(Exception):
    """The child has ended, or can no longer be talked to.

    Attributes:
        status: its exit code, or a signal's number, negative.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"was ended by {how_it_ended(status)}")


class Child:
    """A running child process; used by the one thread that made it, which must outlive it.

    Linux ends a child when the *thread* that started it ends.

    Args:
        command: what to run; the numbers of its two pipes and of this process are appended.
        folder: where.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, command: Sequence[str], folder: str) -> None:
        theirs_in, self._down = os.pipe()
        self._up, theirs_out = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs_in), str(theirs_out), str(os.getpid())],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs_in, theirs_out),
                process_group=0,
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        os.set_blocking(self._down, False)
        os.set_blocking(self._up, False)
        self._unsent = bytearray()
        self._frames = Unpacker()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def send(self, frame: bytes) -> None:
        """Have these bytes sent by the next ``exchange``."""
        self._unsent += frame

    def exchange(self, timeout: float) -> list[Frame]:
        """Send and receive for at most ``timeout`` seconds; return at the first bytes.

        A process that was forked by a job may hold the pipe open after its end: so the process is
        looked at too, and before its pipe, in which its last words may still be.

        Raises:
            ChildGone: it has ended and said nothing more; ``kill`` it.
            FrameError: what it says is no frame; ``kill`` it.
        """
        ended = self.ended
        wanted = select.poll()
        wanted.register(self._up, select.POLLIN)
        if self._unsent and not ended:
            wanted.register(self._down, select.POLLOUT)
        ready = {fd for fd, _ in wanted.poll(0 if ended else timeout * 1000)}
        if self._down in ready:
            self._send_some()
        if self._up in ready:
            if data := os.read(self._up, CHUNK):
                return self._frames.feed(data)
            raise ChildGone(self.kill(END_PATIENCE))
        if ended:
            raise ChildGone(self.kill())
        return []

    def _send_some(self) -> None:
        try:
            sent = os.write(self._down, self._unsent[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            # It ends; what it still said is read first.
            self._unsent.clear()
            return
        del self._unsent[:sent]

    def kill(self, patience: float = 0.0) -> int:
        """End it and what it started, and return how it ended; may be called twice.

        Args:
            patience: seconds in which it may still end by itself.
        """
        if self._down < 0:
            return self._process.wait()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        # The group outlives its leader while anybody is in it, so the number is nobody else's.
        # Nobody may be left; macOS refuses where only a dead leader is.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._close()
        return self._process.wait()

    def end(self) -> None:
        """Ask it to end by itself, and end it when it does not."""
        self.send(pack("end"))
        self._send_some()
        self.kill(END_PATIENCE)

    def _close(self) -> None:
        os.close(self._down)
        os.close(self._up)
        self._down = self._up = -1


def how_it_ended(status: int) -> str:
    """Say an exit status in words."""
    if status >= 0:
        return f"its own exit, code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if -status == signal.SIGKILL:
        return f"{name} (the kernel sends it too, when memory runs out)"
    return name
