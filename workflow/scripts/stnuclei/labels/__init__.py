"""Cell types from counts: clusters, marker evidence, methods, scores, pictures."""

from stnuclei.labels.markers import Markers, load_markers
from stnuclei.labels.registry import LabelContext, methods, register
from stnuclei.labels.result import Labels, cell_table

__all__ = ["LabelContext", "Labels", "Markers", "cell_table", "load_markers", "methods", "register"]
