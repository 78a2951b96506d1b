from .classes import NucleusLabels as NucleusLabels, nucleus_labels as nucleus_labels, patch_classes as patch_classes
from .cut import cut_patches as cut_patches
from .figures import draw_contact_sheet as draw_contact_sheet
from .pannuke import import_pannuke as import_pannuke
from .predictions import PredictionStore as PredictionStore, write_predictions as write_predictions
from .store import Items as Items, PatchStore as PatchStore
from .write import PatchBlock as PatchBlock, write_patches as write_patches
