"""The workflow's settings and tables, checked before any job."""

from stnuclei.config.groups import PatchSet, expand_sources, label_methods, patch_sets
from stnuclei.config.leakage import check_models, pannuke_organ_warnings, shared_patients
from stnuclei.config.runs import expand_runs
from stnuclei.config.samples import read_samples
from stnuclei.config.settings import check_config, with_defaults

__all__ = [
    "PatchSet",
    "check_config",
    "check_models",
    "expand_runs",
    "expand_sources",
    "label_methods",
    "pannuke_organ_warnings",
    "patch_sets",
    "read_samples",
    "shared_patients",
    "with_defaults",
]
