"""The workflow's settings and tables, checked before any job."""

from stnuclei.config.groups import PatchSet, expand_sources, label_methods, patch_sets
from stnuclei.config.samples import read_samples
from stnuclei.config.settings import check_config, with_defaults

__all__ = [
    "PatchSet",
    "check_config",
    "expand_sources",
    "label_methods",
    "patch_sets",
    "read_samples",
    "with_defaults",
]
