from .open import open_slide as open_slide
from .pyramid import write_pyramid as write_pyramid
from .regions import read_padded as read_padded, read_region as read_region
from .slide import Slide as Slide
