"""Prediction: a checkpoint and pictures in, nuclei out."""

from stnuclei.prediction.nuclei_file import NucleiFile, NucleiWriter
from stnuclei.prediction.patches import predict_patches
from stnuclei.prediction.predictor import Maps, Predictor
from stnuclei.prediction.slide import segment_slide
from stnuclei.prediction.store import PredictionStore

__all__ = [
    "Maps",
    "NucleiFile",
    "NucleiWriter",
    "PredictionStore",
    "Predictor",
    "predict_patches",
    "segment_slide",
]
