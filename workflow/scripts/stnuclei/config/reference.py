"""Table of every setting for the documentation: ``python -m stnuclei.config.reference > docs/settings.md``."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from stnuclei.config.augmentation import AugmentSettings
from stnuclei.config.classifiers import ClassifierBlock
from stnuclei.config.expression import ExpressionModel, SpotSample
from stnuclei.config.model import Settings
from stnuclei.config.workflow import ClassifierEntry, Configuration, FoldSource, ModelEntry, SampleSource

_HEAD = """# Settings

Every setting of `config/config.yaml`, written from the models in `workflow/scripts/stnuclei/config/` by
`python -m stnuclei.config.reference` (a test holds this page against them). A configuration given with `--configfile`
is laid over the shipped one; unknown keys and values outside these bounds are refused before any job.
"""
#: Blocks that a user names entries of: their title, and the model of an entry.
_ENTRIES: dict[str, type[Settings]] = {
    "models.NAME": ModelEntry,
    "models.NAME.train[], validation[]: samples": SampleSource,
    "models.NAME.train[], validation[], test[]: folds of PanNuke": FoldSource,
    "classifiers.NAME": ClassifierEntry,
    "classifiers.NAME.head": ClassifierBlock,
    "training.augmentation, single values": AugmentSettings,
    "expression.spots.NAME": SpotSample,
    "expression.models.NAME": ExpressionModel,
}
_BOUNDS = (("gt", "> "), ("ge", ">= "), ("lt", "< "), ("le", "<= "), ("multiple_of", "a multiple of "))
_NAMES = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def settings_page() -> str:
    """The page as Markdown."""
    sections: list[tuple[str, type[Settings]]] = [("", Configuration), *_sections(Configuration)]
    tables = [_section(title or "Top level", model) for title, model in sections]
    tables += [_section(title, model) for title, model in _ENTRIES.items()]
    return "\n".join([_HEAD, *tables])


def _sections(model: type[Settings], path: str = "") -> Iterator[tuple[str, type[Settings]]]:
    """Every block below a model with its path, in the order of the configuration."""
    for name, field in model.model_fields.items():
        block = _block(field.annotation)
        if block is not None:
            yield f"{path}{name}", block
            yield from _sections(block, f"{path}{name}.")


def _block(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next(filter(None, map(_block, get_args(annotation))), None)
    return None


def _section(title: str, model: type[Settings]) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items() if _block(field.annotation) is None]
    if not rows:
        return f"## {title}\n"
    meaning = re.sub(
        r"^Block ``[^`]*``(: (.))?", lambda match: (match[2] or "").upper(), (model.__doc__ or "").splitlines()[0]
    )
    meaning_lines = [meaning, ""] if len(meaning) > 1 else []
    head = [f"## {title}", "", *meaning_lines, "| setting | values | default | meaning |"]
    return "\n".join([*head, "|---|---|---|---|", *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    default = "needed" if field.is_required() else f"`{_shown(field.default) or '(empty)'}`"
    values = _values(field.annotation, field.metadata)
    return f"| `{name}` | {values} | {default} | {field.description} |"


def _shown(value: Any) -> str:
    if isinstance(value, Settings):
        return "{}"
    if isinstance(value, dict):
        value = {
            key: entry.to_dict(given=True) if isinstance(entry, Settings) else entry for key, entry in value.items()
        }
    return json.dumps(value, ensure_ascii=False).replace('"', "")


def _values(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Type and bounds in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(inner[0], [*inner[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        words = [_values(member) for member in inner if member is not type(None)]
        return " or ".join([_bounded(words[0], metadata), *words[1:], *["null"] * (type(None) in inner)])
    if origin is dict:
        return f"names with {_values(inner[1])}"
    if origin in (list, tuple):
        return f"list of {_values(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "a block, below"
    return _bounded(_NAMES.get(annotation, "settings"), metadata)


def _bounded(word: str, metadata: list[Any] | tuple[Any, ...]) -> str:
    flat = [bound for entry in metadata for bound in (getattr(entry, "metadata", None) or [entry])]
    bounds = [
        f"{sign}{getattr(entry, name):g}"
        for entry in flat
        for name, sign in _BOUNDS
        if isinstance(getattr(entry, name, None), int | float)
    ]
    return f"{word} {', '.join(bounds)}".strip()


if __name__ == "__main__":
    print(settings_page(), end="")
