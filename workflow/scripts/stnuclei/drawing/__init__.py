"""Tools that every picture uses: figures without global state, nuclei on pixels, scale bars, legends, charts."""

import lazy_loader

# Names are imported on first use: who only needs a colour does not load matplotlib. Types: __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
