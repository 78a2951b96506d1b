from .checkpoint import load_checkpoint as load_checkpoint, save_checkpoint as save_checkpoint
from .classifier import CellClassifier as CellClassifier
from .classifier import load_classifier as load_classifier
from .classifier import save_classifier as save_classifier
from .encoder_weights import load_encoder as load_encoder
from .export import export_model as export_model
from .losses import OFFICIAL_WEIGHTS as OFFICIAL_WEIGHTS, cellvit_losses as cellvit_losses, total_loss as total_loss
from .model import ARCHITECTURES as ARCHITECTURES, CellViT as CellViT, build_model as build_model
