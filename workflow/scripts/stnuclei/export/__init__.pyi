from .density import draw_density as draw_density
from .explorer import write_explorer as write_explorer
from .exports import draw_slide as draw_slide, find_slide as find_slide, write_exports as write_exports
from .geojson import write_geojson as write_geojson
from .overview import draw_overview as draw_overview
from .spatialdata_store import write_spatialdata as write_spatialdata
from .summary import summarise as summarise, write_summary as write_summary
from .zooms import draw_zooms as draw_zooms
