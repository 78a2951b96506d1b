from .dispatch import cluster_cells as cluster_cells, label_cells as label_cells
from .export import publish_labels as publish_labels, write_explorer_groups as write_explorer_groups
from .figures import draw_labels as draw_labels
from .maps import draw_comparison as draw_comparison
from .regions import restrict_labels as restrict_labels
from .registry import LabelContext as LabelContext, methods as methods, register as register
from .result import Labels as Labels, cell_table as cell_table
from .score_figure import draw_scores as draw_scores
from .scores import LabelScores as LabelScores, label_agreement as label_agreement, score_labels as score_labels
