from .hest import simulate_hest as simulate_hest
from .pannuke import simulate_pannuke as simulate_pannuke
from .sample import simulate_sample as simulate_sample
from .tissue import Tissue as Tissue, grow_tissue as grow_tissue
