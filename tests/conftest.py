"""What every test can ask for: the brokers and names of ``streamjobs.testing``."""

import signal

# Started in the background the suite ignores SIGINT, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["streamjobs.testing", "pytester"]
