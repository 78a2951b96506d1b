from .counting import count_cells as count_cells, count_transcripts as count_transcripts
from .data import PatchData as PatchData, PatchSource as PatchSource
from .loop import train_expression as train_expression
from .moran import morans_i as morans_i, patch_graph as patch_graph, spatial_genes as spatial_genes
from .networks import build_network as build_network, load_weights as load_weights
from .predict import predict_expression as predict_expression
from .report import score_expression as score_expression
from .split import split_patches as split_patches
from .spots import cut_spots as cut_spots, read_spots as read_spots, spot_counts as spot_counts
from .table import patch_table as patch_table, read_table as read_table, write_table as write_table
