"""A simulator of stained tissue and of the Xenium slides made from it: the demo's and the tests' data."""

from stnuclei.simulate.sample import simulate_sample
from stnuclei.simulate.tissue import Tissue, grow_tissue

__all__ = ["Tissue", "grow_tissue", "simulate_sample"]
