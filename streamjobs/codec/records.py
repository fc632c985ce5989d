"""The forms of nested records: dataclasses, TypedDicts and pydantic models."""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Callable
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import BaseModel, RootModel

from streamjobs.codec.forms import (
    NO_DEFAULT,
    Form,
    Inexpressible,
    Names,
    Unfit,
    closed_dict,
    field_schema,
)
from streamjobs.errors import DefinitionError

FormOf = Callable[[Any, Names, tuple[str, ...]], Form]


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    form: Form
    avro: dict[str, Any]


def is_record(hint: Any) -> bool:
    """Whether a hint is a class that travels as an Avro record."""
    if not isinstance(hint, type):
        return False
    return (
        dataclasses.is_dataclass(hint)
        or typing_extensions.is_typeddict(hint)
        or issubclass(hint, BaseModel)
    )


def record(cls: Any, names: Names, place: tuple[str, ...], form_of: FormOf) -> Form:
    """Return the form of a class of fields.

    Raises:
        DefinitionError: a field has no Avro form, or the class does what a record cannot.
    """
    where = f"job {names.job!r}, parameter {place[0]!r}: {cls.__qualname__}"
    fields = [
        _field(name, form_of(hint, names, (*place, name)), default, where)
        for name, hint, default in _fields(cls, where)
    ]
    if not fields:
        raise DefinitionError(f"{where} has no fields: give it one, or leave the parameter out")
    named_dict = typing_extensions.is_typeddict(cls)
    avro = {
        "type": "record",
        "name": f"{names.job}_{cls.__name__}",
        "fields": [field.avro for field in fields],
    }
    return Form(
        avro=avro,
        hint=closed_dict(cls.__name__, {f.name: f.form.hint for f in fields})
        if named_dict
        else cls,
        expected=f"{'a dict like' if named_dict else 'an instance of'} {cls.__name__}",
        to_wire=_to_wire(cls, fields, named_dict=named_dict),
        from_wire=_from_dict(fields, "from_wire"),
        from_text=_from_dict(fields, "from_text"),
        to_default=_to_default(fields, named_dict=named_dict),
        direct=False,
        instances=not named_dict or any(field.form.instances for field in fields),
    )


def _field(name: str, form: Form, default: Any, where: str) -> _Field:
    try:
        return _Field(name, form, field_schema(name, form, default))
    except Unfit as error:
        raise DefinitionError(
            f"{where}, field {name!r}: its default does not fit: {error}"
        ) from None


def _fields(cls: Any, where: str) -> list[tuple[str, Any, Any]]:
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return _model_fields(cls, where)
    hints = _hints(cls, where)
    if typing_extensions.is_typeddict(cls):
        return _dict_fields(cls, hints, where)
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise DefinitionError(f"{where}: {name!r} is an InitVar, which no record can keep")
    return [_class_field(field, hints, where) for field in dataclasses.fields(cls)]


def _hints(cls: Any, where: str) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{where}: a field's hint names {error.name!r}, which is not there at run time; "
            "define it in the module, outside of 'if TYPE_CHECKING'"
        ) from error


def _class_field(
    field: dataclasses.Field[Any], hints: dict[str, Any], where: str
) -> tuple[str, Any, Any]:
    if not field.init:
        raise DefinitionError(f"{where}: field {field.name!r} has init=False: make it a property")
    default = field.default
    # Any other factory may give something else each time, and a schema is the same each time.
    if field.default_factory in (list, dict):
        default = field.default_factory()
    return field.name, hints[field.name], NO_DEFAULT if default is dataclasses.MISSING else default


def _dict_fields(cls: Any, hints: dict[str, Any], where: str) -> list[tuple[str, Any, Any]]:
    fields = []
    for name, given in hints.items():
        hint = get_args(given)[0] if get_origin(given) is Required else given
        if get_origin(given) is NotRequired or not cls.__total__:
            raise DefinitionError(
                f"{where}: key {name!r} may be absent, and a record has all its fields; "
                "make it required, of type X | None"
            )
        fields.append((name, hint, NO_DEFAULT))
    return fields


def _model_fields(cls: type[BaseModel], where: str) -> list[tuple[str, Any, Any]]:
    config = cls.model_config
    if issubclass(cls, RootModel) or config.get("extra") == "allow":
        raise DefinitionError(f"{where} takes more than its fields, and a record has only those")
    fields: list[tuple[str, Any, Any]] = []
    for name, info in cls.model_fields.items():
        by_name = config.get("populate_by_name") or config.get("validate_by_name")
        if info.validation_alias is not None and not by_name:
            raise DefinitionError(
                f"{where}: field {name!r} goes by an alias; set populate_by_name=True in its config"
            )
        hint: Any = info.annotation
        if info.metadata:
            hint = operator.getitem(Annotated, (hint, *info.metadata))
        default = NO_DEFAULT if info.is_required() else info.default
        if info.default_factory in (list, dict):
            default = info.get_default(call_default_factory=True)
        elif info.default_factory is not None:
            default = NO_DEFAULT
        fields.append((name, hint, default))
    return fields


def _to_wire(cls: Any, fields: list[_Field], *, named_dict: bool) -> Callable[[Any], Any]:
    expected = f"{'a dict like' if named_dict else 'an instance of'} {cls.__name__}"
    converts = [(field.name, field.form.to_wire) for field in fields]
    wanted = {field.name for field in fields}

    def to_wire(value: Any) -> dict[str, Any]:
        # A subclass would lose the fields it adds without a word.
        if type(value) is not (dict if named_dict else cls):
            raise Unfit(value, expected)
        if named_dict and value.keys() != wanted:
            raise Unfit(value, f"{expected} with the keys {', '.join(sorted(wanted))}")
        wire = {}
        for name, convert in converts:
            try:
                wire[name] = convert(value[name] if named_dict else getattr(value, name))
            except Unfit as error:
                raise error.below(name) from None
        return wire

    return to_wire


def _from_dict(fields: list[_Field], way: str) -> Callable[[Any], Any]:
    converts = {field.name: getattr(field.form, way) for field in fields}

    def from_dict(value: Any) -> Any:
        if way == "from_text" and isinstance(value, str):
            value = _loaded(value)
        if not isinstance(value, dict):
            return value
        made = dict(value) if way == "from_text" else {}
        for name, convert in converts.items():
            if name in value:
                try:
                    made[name] = convert(value[name])
                except Unfit as error:
                    raise error.below(name) from None
        return made

    return from_dict


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _to_default(fields: list[_Field], *, named_dict: bool) -> Callable[[Any], Any]:
    def to_default(value: Any) -> dict[str, Any]:
        made = {}
        for field in fields:
            item = value[field.name] if named_dict else getattr(value, field.name)
            form = field.form
            if form.inner is not None and field.avro["type"][0] != "null":
                form = form.inner
                if item is None:
                    raise Inexpressible
            made[field.name] = form.to_default(item)
        return made

    return to_default
