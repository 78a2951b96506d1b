"""Read a configuration: defaults under it, and every problem at once with its nearest right key."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from stnuclei.config.model import check
from stnuclei.config.workflow import Configuration
from stnuclei.errors import UserError, is_file_name, refuse
from stnuclei.taxonomy import Taxonomy

#: Blocks whose keys a user chooses: a configuration's replace the shipped ones instead of joining them.
_REPLACED = ("models", "classifiers")
#: Keys whose text is a path, blocks whose entries all are, and blocks whose keys name folders.
_PATHS = ("samples", "results", "slides_table", "taxonomy", "path", "folder", "encoder_weights", "weights")
_PATH_BLOCKS = ("markers", "segmentation.checkpoints")
_FOLDER_NAMES = ("segmentation.checkpoints", "expression.spots", "expression.models", "classifiers")


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `config` over `defaults`, block by block; lists and scalars replace, and so does ``models``."""
    merged = copy.deepcopy(dict(defaults))
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in _REPLACED:
            merged[key] = with_defaults(value, merged[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a whole configuration and fill in what it leaves out.

    Parameters
    ----------
    config
        The merged configuration.

    Returns
    -------
    Plain content with every setting.

    Raises
    ------
    UserError
        With one line a problem: the key, what is wrong, and for an unknown key the nearest known one.
    """
    checked = check(Configuration, config, "the configuration").to_dict()
    refuse("the configuration", [*_path_problems(checked), *_taxonomy_problems(checked["taxonomy"])])
    return checked


def _taxonomy_problems(taxonomy: str) -> list[str]:
    """Problems of the classes that every job needs."""
    try:
        Taxonomy.load(taxonomy)
    except UserError as error:
        return [f"taxonomy: {error}"]
    return []


def _path_problems(content: Any, key: str = "") -> Iterator[str]:
    """Problems of paths and of names that become folders, wherever they stand."""
    for name, value in content.items() if isinstance(content, Mapping) else ():
        inner = f"{key}.{name}" if key else str(name)
        if key in _FOLDER_NAMES and not is_file_name(str(name)):
            yield f"{inner}: use letters, digits, '_', '-' and '.' only: it names a folder"
        if isinstance(value, str) and (name in _PATHS or key in _PATH_BLOCKS) and set("{}\n\r\t\0") & set(value):
            yield f"{inner}: {value!r} has braces, which stand for names here, or a line break; rename the file"
        yield from _path_problems(value, inner)
