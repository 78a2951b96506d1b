from .image import segment_image as segment_image
from .patches import predict_patches as predict_patches
from .predictor import PredictedMaps as PredictedMaps, Predictor as Predictor
from .slide import segment_slide as segment_slide
