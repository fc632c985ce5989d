"""What the tree of errors promises to those who read a dead letter."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import streamjobs
from streamjobs import errors
from streamjobs.errors import Control, EnqueueError, InvalidArguments, RecordError


def kinds(base: type[BaseException]) -> Iterator[type[BaseException]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def test_what_a_job_can_fail_with_has_a_public_name_in_one_module() -> None:
    for module in pkgutil.walk_packages(streamjobs.__path__, "streamjobs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    for base in (Control, EnqueueError, InvalidArguments, RecordError):
        for kind in kinds(base):
            assert getattr(errors, kind.__name__, None) is kind
            assert not kind.__name__.startswith("_")
