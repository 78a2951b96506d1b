"""Cell types from counts: clusters, marker evidence, methods, scores, pictures."""

from stnuclei.labels.annotation import read_annotation
from stnuclei.labels.clustering import Clustering, cluster_cells
from stnuclei.labels.dispatch import label_cells
from stnuclei.labels.export import publish_labels, write_explorer_groups
from stnuclei.labels.figures import draw_labels
from stnuclei.labels.maps import draw_comparison
from stnuclei.labels.markers import Markers, load_markers
from stnuclei.labels.registry import LabelContext, methods, register
from stnuclei.labels.result import Labels, cell_table
from stnuclei.labels.scores import LabelScores, label_agreement, score_labels

__all__ = [
    "Clustering",
    "LabelContext",
    "LabelScores",
    "Labels",
    "Markers",
    "cell_table",
    "cluster_cells",
    "draw_comparison",
    "draw_labels",
    "label_agreement",
    "label_cells",
    "load_markers",
    "methods",
    "publish_labels",
    "read_annotation",
    "register",
    "score_labels",
    "write_explorer_groups",
]
