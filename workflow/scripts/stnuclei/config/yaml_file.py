"""Configuration files as YAML: a key written twice and every mistake of the text are told with their line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from stnuclei.errors import UserError


class _StrictLoader(yaml.SafeLoader):
    """Safe loader that refuses a key twice: YAML's own takes the last one and drops the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Mapping of a node, whose keys differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key {key.value!r} is there twice in one block; join them"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file.

    Parameters
    ----------
    path
        YAML or JSON with keys at its top level; an empty file has none.

    Raises
    ------
    UserError
        If it is no such text, with the line.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8-sig"), _StrictLoader)  # noqa: S506 a safe loader's child
    except UnicodeDecodeError as error:
        raise UserError(f"configuration {path}: is no UTF-8 text; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"configuration {path}: {_sentence(error)}") from error
    if not isinstance(content, dict | None):
        raise UserError(f"configuration {path}: holds a {type(content).__name__}, not keys with their values")
    return content or {}


def _sentence(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"is no YAML ({str(error).splitlines()[0][:120]})"
    where = f"line {error.problem_mark.line + 1}"
    if "'\\t'" in str(error.problem):
        return f"{where} is indented with a tab; use blanks"
    return f"{where}: {error.problem or error.context}"
