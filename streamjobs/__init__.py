"""Background jobs on Kafka: order per key that survives failure, no job blocking others."""

import logging

from streamjobs.app import App
from streamjobs.breaker import Breaker
from streamjobs.client import Call, JobRef, Summary
from streamjobs.context import Context, current_context
from streamjobs.errors import (
    AuthenticationError,
    BrokerUnavailable,
    ConfigurationError,
    DeadLetter,
    DefinitionError,
    Discard,
    EnqueueError,
    InvalidArguments,
    RetryAfter,
    SettingsError,
    StreamjobsError,
    TopicsError,
)
from streamjobs.handle import Job
from streamjobs.registry import Queue
from streamjobs.retry import Retry
from streamjobs.settings import Settings

__all__ = [
    "App",
    "AuthenticationError",
    "Breaker",
    "BrokerUnavailable",
    "Call",
    "ConfigurationError",
    "Context",
    "DeadLetter",
    "DefinitionError",
    "Discard",
    "EnqueueError",
    "InvalidArguments",
    "Job",
    "JobRef",
    "Queue",
    "Retry",
    "RetryAfter",
    "Settings",
    "SettingsError",
    "StreamjobsError",
    "Summary",
    "TopicsError",
    "current_context",
]

# A library says nothing unless the program asks for it.
logging.getLogger("streamjobs").addHandler(logging.NullHandler())
