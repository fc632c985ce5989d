"""Arguments against a signature: checked by one compiled validator per job."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaError

from streamjobs.codec.forms import Form, Unfit, closed_dict, show, show_path
from streamjobs.errors import DefinitionError, InvalidArguments
from streamjobs.job import JobDefinition


class Arguments:
    """Checks the arguments of one job, from Python, from outside, and from the wire.

    Args:
        definition: the job.
        forms: the form of each of its parameters.

    Attributes:
        plain: what fastavro reads is what the handler takes.
        direct: what was checked is what fastavro writes.
        required: the parameters without a default.

    Raises:
        DefinitionError: a default breaks a constraint of its own hint, or a constraint does not
            fit its hint.
    """

    def __init__(self, definition: JobDefinition, forms: dict[str, Form]) -> None:
        self._job, self._forms = definition.name, forms
        self._defaults = {p.name: p.default for p in definition.parameters if not p.required}
        self._copied = [name for name, value in self._defaults.items() if not _immutable(value)]
        self._names = forms.keys()
        self._validate = _validator(definition.name, {n: f.hint for n, f in forms.items()})
        self._instances = {
            name: _validator(definition.name, {name: form.hint})
            for name, form in forms.items()
            if form.instances
        }
        self.required = forms.keys() - self._defaults.keys()
        self.plain = all(form.plain for form in forms.values())
        self.direct = all(form.direct for form in forms.values())
        self._check_defaults(definition)

    @property
    def forms(self) -> Mapping[str, Form]:
        """The form of each parameter, by name."""
        return self._forms

    def _check_defaults(self, definition: JobDefinition) -> None:
        for name, value in self._defaults.items():
            check = _validator(definition.name, {name: self._forms[name].hint})
            try:
                check({name: value}, strict=True)
            except ValidationError as error:
                raise DefinitionError(
                    f"job {definition.name!r}, parameter {name!r}: its default does not fit: "
                    + "; ".join(self._problems(error))
                ) from None

    def from_python(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call in the signature's order, defaults filled in.

        Types are exact (True is no int), except that a float takes an int.

        Raises:
            InvalidArguments: naming every missing, unknown and wrong one.
        """
        if type(args) is not dict or args.keys() != self._names:
            args = self._filled(args)
        try:
            checked: dict[str, Any] = self._validate(args, strict=True)
        except ValidationError as error:
            raise InvalidArguments(self._job, self._problems(error)) from None
        return self._look_into(checked) if self._instances else checked

    def from_text(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that come from CSV or JSON, made into the signature's types.

        ``"7"`` is an int, ``"true"`` a bool, ``""`` None for an optional one, dates and times are
        ISO 8601, bytes base64, an Enum goes by its name, lists and dicts may be JSON in a cell.

        Raises:
            InvalidArguments: naming every missing, unknown and wrong one.
        """
        filled, problems = dict(self._filled(args)), []
        for name, form in self._forms.items():
            if name in args:
                try:
                    filled[name] = form.from_text(args[name])
                except Unfit as error:
                    problems.append(str(error.below(name)))
                    filled.pop(name)
        bad = set(args) - set(filled)
        try:
            checked: dict[str, Any] = self._validate(filled)
        except ValidationError as error:
            problems += self._problems(error, bad)
        if problems:
            raise InvalidArguments(self._job, tuple(problems))
        return self._look_into(checked) if self._instances else checked

    def from_wire(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return decoded arguments as the handler takes them; parameters added since filled in.

        A parameter without a default that is not optional has to be in ``args``.

        Raises:
            Unfit: a value has no place in its form.
            ValidationError: a value breaks a constraint.
        """
        made = {}
        for name, form in self._forms.items():
            try:
                made[name] = form.from_wire(args[name]) if name in args else self._added(name)
            except Unfit as error:
                raise error.below(name) from None
        valid: dict[str, Any] = self._validate(made)
        return valid

    def to_wire(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return checked arguments as fastavro writes them."""
        return {name: form.to_wire(args[name]) for name, form in self._forms.items()}

    def problems(self, error: ValidationError) -> str:
        """Return one line about everything pydantic refused."""
        return "; ".join(self._problems(error))

    def _added(self, name: str) -> Any:
        """Return what a parameter is that the record is older than: its default, or None."""
        value = self._defaults.get(name)
        return copy.deepcopy(value) if name in self._copied else value

    def _filled(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        filled = {**self._defaults, **args}
        for name in self._copied:
            if name not in args:
                filled[name] = copy.deepcopy(filled[name])
        return filled

    def _look_into(self, checked: dict[str, Any]) -> dict[str, Any]:
        """Check instances by sending them to the wire and back: pydantic trusts their fields."""
        problems = []
        for name, validate in self._instances.items():
            form = self._forms[name]
            try:
                validate({name: form.from_wire(form.to_wire(checked[name]))})
            except Unfit as error:
                problems.append(str(error.below(name)))
            except ValidationError as error:
                problems += self._problems(error)
        if problems:
            raise InvalidArguments(self._job, tuple(problems))
        return checked

    def _problems(self, error: ValidationError, leave_out: Collection[str] = ()) -> tuple[str, ...]:
        return tuple(
            self._problem(detail)
            for detail in error.errors(include_url=False, include_context=False)
            if detail["loc"][0] not in leave_out
        )

    def _problem(self, detail: ErrorDetails) -> str:
        name = str(detail["loc"][0])
        if name not in self._forms:
            takes = ", ".join(self._forms) or "none"
            return f"{name}: no such parameter, got {show(detail['input'])}; it takes {takes}"
        form = self._forms[name]
        if detail["type"] == "missing" and len(detail["loc"]) == 1:
            return f"{name}: missing, expected {form.expected}"
        expected = f"expected {form.expected}: " if len(detail["loc"]) == 1 else ""
        got = show(detail["input"])
        return f"{show_path(tuple(detail['loc']))}got {got}, {expected}{detail['msg']}"


def _validator(job: str, hints: dict[str, Any]) -> Callable[..., Any]:
    """Compile a validator of a dict of exactly these keys."""
    try:
        return TypeAdapter(closed_dict(job, hints)).validator.validate_python
    except (PydanticUserError, SchemaError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise DefinitionError(f"job {job!r}: a constraint does not fit its hint: {line}") from error


def _immutable(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, str, bytes))
