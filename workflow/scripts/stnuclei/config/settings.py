"""Check a configuration against its schema; every problem at once, each with its nearest right key."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from stnuclei.errors import UserError


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `config` over `defaults`, block by block; lists and scalars replace, and so does ``models``."""
    merged = copy.deepcopy(dict(defaults))
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != "models":
            merged[key] = with_defaults(value, merged[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def check_config(config: Mapping[str, Any], schema: str | Path) -> None:
    """Check a whole configuration.

    Parameters
    ----------
    config
        The merged configuration.
    schema
        JSON schema as YAML; every object has ``additionalProperties: false``.

    Raises
    ------
    UserError
        With one line a problem: the key, what is wrong, and for an unknown key the nearest known one.
    """
    with open(schema) as file:
        validator = Draft202012Validator(yaml.safe_load(file))
    problems = [line for error in validator.iter_errors(config) for line in _lines(error)]
    if problems:
        listing = "\n".join(f"  - {line}" for line in sorted(set(problems)))
        raise UserError(f"the configuration has {len(set(problems))} problem(s):\n{listing}")


def _lines(error: ValidationError) -> Iterator[str]:
    place = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        for key in sorted(set(error.instance) - set(known)):
            yield _unknown_key(f"{place}.{key}" if place else str(key), str(key), known)
    elif error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        for key in missing:
            yield f"{place}.{key}".lstrip(".") + ": is missing"
    elif error.validator == "enum":
        yield f"{place}: {error.instance!r} is none of {', '.join(map(str, error.validator_value))}"
    else:
        yield f"{place or 'config'}: {error.message}"


def _unknown_key(place: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
    return f"{place}: unknown key; {hint}"
