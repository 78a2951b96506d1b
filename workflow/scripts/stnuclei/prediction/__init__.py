"""Prediction: a checkpoint and pictures in, nuclei out."""

from stnuclei.prediction.patches import predict_patches
from stnuclei.prediction.predictor import Maps, Predictor
from stnuclei.prediction.store import PredictionStore

__all__ = ["Maps", "PredictionStore", "Predictor", "predict_patches"]
