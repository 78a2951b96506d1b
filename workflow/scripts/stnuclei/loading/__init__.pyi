from .collection import Collection as Collection
from .loader import PatchLoader as PatchLoader, ReadSettings as ReadSettings
from .sampler import Sampler as Sampler
from .sources import Source as Source
