from .image import segment_image as segment_image
from .maps import PredictedMaps as PredictedMaps
from .patches import predict_patches as predict_patches
from .predictor import Predictor as Predictor
from .slide import segment_slide as segment_slide
