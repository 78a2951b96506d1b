"""Patches: a slide resampled and cut, nuclei painted into ids, one store of both; PanNuke becomes the same store."""

from stnuclei.patches.classes import patch_classes
from stnuclei.patches.cut import cut_patches
from stnuclei.patches.figures import draw_contact_sheet
from stnuclei.patches.pannuke import import_pannuke
from stnuclei.patches.settings import CutSettings
from stnuclei.patches.store import Items, PatchStore
from stnuclei.patches.write import PatchBlock, write_patches

__all__ = [
    "CutSettings",
    "Items",
    "PatchBlock",
    "PatchStore",
    "cut_patches",
    "draw_contact_sheet",
    "import_pannuke",
    "patch_classes",
    "write_patches",
]
