from .charts import (
    LINE_COLORS as LINE_COLORS,
    draw_calibration as draw_calibration,
    draw_confusion as draw_confusion,
    scatter_classes as scatter_classes,
)
from .figure import (
    bare as bare,
    figure_file as figure_file,
    legend as legend,
    open_frame as open_frame,
    scale_bar as scale_bar,
    show_pixels as show_pixels,
)
from .pixels import (
    class_colors as class_colors,
    fill_polygons as fill_polygons,
    outline_instances as outline_instances,
    outline_polygons as outline_polygons,
    rgb as rgb,
    stamp_points as stamp_points,
)
from .figure import map_bin_um as map_bin_um, map_smoothing_um as map_smoothing_um, round_length as round_length
