"""A small app of jobs, its codec, and what spoils a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from streamjobs.codec import Decoder, Encoder, MemorySchemaStore
from streamjobs.context import Context
from streamjobs.job import Envelope, JobDefinition, read_parameters
from streamjobs.registry import Registry

JOB_ID = "0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11"
NOON = 1_700_000_000_000_000


class Codec:
    """One app: define jobs, encode calls, decode records."""

    def __init__(self, store: MemorySchemaStore | None = None) -> None:
        self.registry = Registry("my-shop")
        self.store = store or MemorySchemaStore()
        self.decoder = Decoder("my-shop", self.registry, self.store)
        self.encoders: dict[str, Encoder] = {}

    def define(self, function: Callable[..., Any], name: str | None = None) -> Encoder:
        takes_context, parameters = read_parameters(function, Context)
        definition = JobDefinition(
            name or function.__name__, "default", function, parameters, takes_context
        )
        encoder = Encoder("my-shop", definition)
        self.registry.add_job(definition)
        self.encoders[definition.name] = encoder
        return encoder

    def prefix(self, encoder: Encoder) -> bytes:
        return self.store.prefix("my-shop.default", encoder.name, encoder.schema)

    def encode(
        self, name: str, args: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> bytes:
        encoder = self.encoders[name]
        checked = encoder.check(args)
        return encoder.encode(
            self.prefix(encoder), checked, id=JOB_ID, enqueued_at=NOON, options=options
        )

    def decode(self, value: bytes | None) -> Envelope:
        return self.decoder.decode(value)[1]

    def round_trip(self, name: str, /, **args: Any) -> dict[str, Any]:
        return self.decode(self.encode(name, args)).args


@pytest.fixture
def codec() -> Codec:
    return Codec()


@pytest.fixture
def new_codec() -> Callable[[MemorySchemaStore], Codec]:
    """Another release of the same app over the same store."""
    return Codec


@pytest.fixture(scope="session")
def codec_of() -> Callable[[Callable[..., Any]], Codec]:
    """One codec per function, for all examples of a property."""
    made: dict[Callable[..., Any], Codec] = {}

    def codec_of(function: Callable[..., Any]) -> Codec:
        if function not in made:
            made[function] = Codec()
            made[function].define(function)
        return made[function]

    return codec_of
