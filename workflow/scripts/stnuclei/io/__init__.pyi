from .annotation import annotation_table as annotation_table
from .annotation import check_cells as check_cells
from .annotation import read_annotation as read_annotation
from .download import download_hest as download_hest
from .hest_samples_table import select_hest as select_hest
from .nuclei_file import NucleiFile as NucleiFile, NucleiWriter as NucleiWriter
from .open_store import open_sample as open_sample
from .read import read_sample as read_sample
from .sample import Sample as Sample
from .store import write_sample as write_sample
from .xenium import read_cell_table as read_cell_table
