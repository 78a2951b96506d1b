"""The workflow's settings and tables, checked before any job."""

from stnuclei.config.leakage import check_models, pannuke_organ_warnings, shared_patients
from stnuclei.config.patch_sets import PatchSet, expand_sources, label_methods, patch_sets
from stnuclei.config.runs import expand_runs
from stnuclei.config.samples import read_samples
from stnuclei.config.settings import check_config, with_defaults
from stnuclei.config.slides import check_segmentation, models_of, read_slides
from stnuclei.config.weights import encoder_urls, local_weights

__all__ = [
    "PatchSet",
    "check_config",
    "check_models",
    "check_segmentation",
    "encoder_urls",
    "expand_runs",
    "expand_sources",
    "label_methods",
    "local_weights",
    "models_of",
    "pannuke_organ_warnings",
    "patch_sets",
    "read_samples",
    "read_slides",
    "shared_patients",
    "with_defaults",
]
