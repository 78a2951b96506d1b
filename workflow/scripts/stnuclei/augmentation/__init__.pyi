from .augmenter import Augmenter as Augmenter
from .settings import AugmentSettings as AugmentSettings
