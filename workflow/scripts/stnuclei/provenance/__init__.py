"""Provenance of results, and comparison of the content of two of them."""

import lazy_loader

# Names are imported on first use: a job must not wait for torch or geopandas it does not need. Types: __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
