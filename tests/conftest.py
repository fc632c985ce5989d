"""What every test can ask for: the brokers and names of ``streamjobs.testing``."""

pytest_plugins = ["streamjobs.testing", "pytester"]
