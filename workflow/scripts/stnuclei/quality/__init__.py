"""Whether a slide can be used: where tissue is sharp and clean, and whether nuclei lie on nuclei."""

from stnuclei.quality.alignment import check_alignment
from stnuclei.quality.report import AlignmentReport, load_correction
from stnuclei.quality.tissue import find_tissue
from stnuclei.quality.tissue_map import TissueMap

__all__ = ["AlignmentReport", "TissueMap", "check_alignment", "find_tissue", "load_correction"]
