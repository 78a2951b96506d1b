from . import (
    cellvit as cellvit,
    classifiers as classifiers,
    clustering as clustering,
    evaluation as evaluation,
    export as export,
    io as io,
    labels as labels,
    markers as markers,
    patches as patches,
    prediction as prediction,
    quality as quality,
    slides as slides,
    training as training,
)
from .cellvit.checkpoint import load_checkpoint as load_checkpoint, save_checkpoint as save_checkpoint
from .cellvit.model import build_model as build_model
from .clustering.clustering import cluster_cells as cluster_cells
from .config.training import TrainSettings as TrainSettings
from .errors import UserError as UserError
from .io.open_store import open_sample as open_sample
from .io.read import read_sample as read_sample
from .io.store import write_sample as write_sample
from .io.xenium import read_cell_table as read_cell_table
from .labels.dispatch import label_cells as label_cells
from .labels.scores import score_labels as score_labels
from .loading.sources import Source as Source
from .patches.cut import cut_patches as cut_patches
from .patches.store import PatchStore as PatchStore
from .prediction.image import segment_image as segment_image
from .prediction.patches import predict_patches as predict_patches
from .prediction.predictor import Predictor as Predictor
from .prediction.slide import segment_slide as segment_slide
from .quality.alignment import check_alignment as check_alignment
from .quality.tissue import find_tissue as find_tissue
from .training.loop import train as train

__version__: str
