from .alignment import check_alignment as check_alignment
from .alignment_report import AlignmentReport as AlignmentReport, load_correction as load_correction
from .stain import channel_problem as channel_problem
from .pictures import draw_alignment as draw_alignment, draw_tissue as draw_tissue
from .pictures import draw_regions as draw_regions
from .tissue import find_tissue as find_tissue
from .tissue_map import TissueMap as TissueMap
