"""Read a configuration: defaults under it, and every problem at once with its nearest right key."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from stnuclei.config.model import check
from stnuclei.config.workflow import Configuration

#: Blocks whose keys a user chooses: a configuration's replace the shipped ones instead of joining them.
_REPLACED = ("models", "classifiers")


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
    return check(Configuration, config, "the configuration").to_dict()
