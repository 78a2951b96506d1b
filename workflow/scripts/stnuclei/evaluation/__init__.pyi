from .agreement import compare_slide as compare_slide
from .agreement_map import draw_agreement as draw_agreement
from .breakdowns import by_class as by_class, by_size as by_size, calibration as calibration, over_runs as over_runs
from .charts import (
    figure_calibration as figure_calibration,
    figure_confusion as figure_confusion,
    figure_pq as figure_pq,
)
from .class_scores import confusion_table as confusion_table, score_classification as score_classification
from .detection import pair_centroids as pair_centroids
from .error_atlas import error_atlas as error_atlas
from .figures import figure_labels as figure_labels, figure_predictions as figure_predictions
from .overlap import joint_histogram as joint_histogram
from .pannuke import pannuke_table as pannuke_table, pannuke_tissues as pannuke_tissues
from .patch_scores import score_segmentation as score_segmentation
from .score_tables import table2 as table2, table3 as table3
from .segmentation import dice as dice, jaccard as jaccard, panoptic_quality as panoptic_quality
from .table1 import describe_store as describe_store, table1 as table1
from .tables import (
    footnotes as footnotes,
    read_scores as read_scores,
    readable as readable,
    write_table as write_table,
)
