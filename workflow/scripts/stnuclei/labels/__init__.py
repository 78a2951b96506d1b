"""Cell types from counts: clusters, marker evidence, methods, scores, pictures."""

from stnuclei.labels.clustering import Clustering, cluster_cells
from stnuclei.labels.dispatch import label_cells
from stnuclei.labels.markers import Markers, load_markers
from stnuclei.labels.registry import LabelContext, methods, register
from stnuclei.labels.result import Labels, cell_table

__all__ = [
    "Clustering",
    "LabelContext",
    "Labels",
    "Markers",
    "cell_table",
    "cluster_cells",
    "label_cells",
    "load_markers",
    "methods",
    "register",
]
