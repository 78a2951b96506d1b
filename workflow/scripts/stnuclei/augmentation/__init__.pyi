from .augmenter import Augmenter as Augmenter
