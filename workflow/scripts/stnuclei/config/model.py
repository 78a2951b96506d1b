"""Base of all settings: strict pydantic models whose errors are this project's sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
)

from stnuclei.errors import UserError, refuse, suggestion

Flag = StrictBool
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
#: numpy, scikit-learn and torch all take seeds up to here.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


def _distinct(values: list[Any]) -> list[Any]:
    doubled = {str(value) for value in values if values.count(value) > 1}
    if doubled:
        raise ValueError(f"has {', '.join(sorted(doubled))} more than once")
    return values


def _text_tag(value: Any) -> str:
    return "(text)" if isinstance(value, str) else "(other)"


#: Of a union of text, tagged ``(text)``, and something else, tagged ``(other)``: one problem then gives one line.
TextOrOther = Discriminator(_text_tag)
#: Put behind a list's type: no entry twice.
Distinct = AfterValidator(_distinct)
#: Discriminators of unions stand in a location as ``(tag)``; they are no keys of the configuration.
_TAG = "("
_BOUNDS = {
    "greater_than": "must be above {gt:.12g}",
    "greater_than_equal": "must be at least {ge:.12g}",
    "less_than": "must be below {lt:.12g}",
    "less_than_equal": "must be at most {le:.12g}",
}
_TYPES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "list": "must be a list",
    "tuple": "must be a list",
    "dict": "must be a block of settings",
    "model": "must be a block of settings",
    "mapping": "must be a block of settings",
}


class Settings(BaseModel):
    """A block of settings: frozen, unknown keys refused, every problem reported at once as a `UserError`.

    Each field has its default, its bounds and, as description, one line of meaning; `config/config.yaml` and
    `docs/settings.md` are held against them by tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False)
    #: Name of the block in the configuration, for messages.
    block: ClassVar[str] = ""

    def __init_subclass__(cls, block: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.block = block or cls.block

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError("\n".join(sentences(type(self), error, type(self).block))) from None

    # Pydantic then validates nested blocks without this constructor, so that all problems arrive in one error.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_a_flag(cls, value: Any, info: Any) -> Any:
        # YAML's `yes` and `on` are true, and Python takes true for 1.
        wanted = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and (wanted in (int, float) or set(get_args(wanted)) & {int, float}):
            raise ValueError(f"must be a number, not {str(value).lower()}")
        return value

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Settings from a block of a configuration; what is left out keeps its default.

        Raises
        ------
        UserError
            With one line a problem: unknown keys with the nearest known one, values outside their bounds.
        """
        return cls(**{str(key): value for key, value in content.items()})

    def to_dict(self, given: bool = False) -> dict[str, Any]:
        """Plain content for JSON or a checkpoint; `from_dict` reads it back. `given`: only what was not left out."""
        return self.model_dump(mode="json", exclude_unset=given)

    def replace(self, **changes: Any) -> Self:
        """Copy with some settings changed, checked as a new one."""
        return type(self)(**{**dict(self), **changes})


def check(model: type[Settings], content: Mapping[str, Any], subject: str) -> Settings:
    """Build settings from a configuration.

    Raises
    ------
    UserError
        ``{subject} has {n} problem(s):`` and one line a problem.
    """
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        refuse(subject, sorted(set(sentences(model, error))))
        raise  # not reached: an error has at least one line


def sentences(model: type[Settings], error: ValidationError, block: str = "") -> list[str]:
    """One line a problem: the key, what is wrong, and for an unknown key the nearest known one."""
    lines = []
    for problem in error.errors(include_url=False):
        location = [step for step in problem["loc"] if not str(step).startswith((_TAG, "[key]"))]
        key = _dotted([*([block] if block else []), *location])
        lines.append(f"{key or 'the configuration'}: {_sentence(model, problem)}")
    return lines


def _sentence(model: type[Settings], problem: Mapping[str, Any]) -> str:
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggestion(problem['loc'][-1], _known_keys(model, problem['loc'][:-1]))}"
    if kind == "literal_error" and problem["loc"][-1] == "[key]":
        return f"unknown key; {suggestion(value, _choices(context))}"
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        return f"{value!r} is none of {', '.join(_choices(context))}"
    if kind == "multiple_of":
        return f"{value!r} is not a multiple of {context['multiple_of']}"
    if kind == "finite_number":
        return f"must be a finite number, not {_shown(value)}"
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind].format(**context)}, not {_shown(value)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("too_short", "too_long", "string_too_short"):
        return (
            "must not be empty"
            if not value
            else f"must have {context.get('min_length', context.get('max_length'))} entries"
        )
    wanted = next((text for name, text in _TYPES.items() if kind.startswith(name + "_")), None)
    return f"{wanted}, not {_shown(value)}" if wanted else str(problem["msg"])


def _shown(value: object) -> str:
    """A value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def _choices(context: Mapping[str, Any]) -> list[str]:
    """Names in pydantic's list of what it expected: ``'a', 'b' or 'c'``."""
    return re.findall(r"'([^']*)'", context["expected"])


def _dotted(location: Sequence[str | int]) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
    return text.removeprefix(".")


def _known_keys(model: type[Settings], location: Sequence[str | int]) -> list[str]:
    """Keys of the block at a location; of a union of blocks, the keys of all."""
    models, names_follow = [model], False
    for key in location:
        if str(key).startswith(_TAG):
            continue
        if names_follow:  # a name the user chose, or a list's index
            names_follow = False
            continue
        annotations = [
            candidate.model_fields[str(key)].annotation for candidate in models if key in candidate.model_fields
        ]
        names_follow = any(_holds_many(annotation) for annotation in annotations)
        models = [inner for annotation in annotations for inner in _blocks(annotation)]
    return list(dict.fromkeys(name for candidate in models for name in candidate.model_fields))


def _holds_many(annotation: Any) -> bool:
    return get_origin(annotation) in (dict, list) or any(map(_holds_many, get_args(annotation)))


def _blocks(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _blocks(inner)
