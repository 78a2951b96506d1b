"""Xenium runs and HEST-1k samples read into one form, written as one store, opened lazily."""

from stnuclei.io.download import download_hest
from stnuclei.io.hest_table import select_hest
from stnuclei.io.open_store import open_sample
from stnuclei.io.read import read_sample
from stnuclei.io.sample import Sample
from stnuclei.io.slide import Slide, open_slide
from stnuclei.io.store import write_sample

__all__ = [
    "Sample",
    "Slide",
    "download_hest",
    "open_sample",
    "open_slide",
    "read_sample",
    "select_hest",
    "write_sample",
]
