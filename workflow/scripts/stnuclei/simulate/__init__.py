"""A simulator of stained tissue and of the Xenium slides made from it: the demo's and the tests' data."""

from stnuclei.simulate.demo import DEMO_SAMPLES, simulate_demo
from stnuclei.simulate.pannuke import simulate_pannuke
from stnuclei.simulate.sample import simulate_sample
from stnuclei.simulate.tissue import Tissue, grow_tissue

__all__ = ["DEMO_SAMPLES", "Tissue", "grow_tissue", "simulate_demo", "simulate_pannuke", "simulate_sample"]
