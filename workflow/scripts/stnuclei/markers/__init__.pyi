from .build import build_markers as build_markers
from .markers import Markers as Markers, load_markers as load_markers
