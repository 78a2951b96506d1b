"""Every setting (names, defaults, bounds, meaning) and the tables a user writes, checked before any job."""

import lazy_loader

# Names are imported on first use: a job must not wait for pandas it does not need. Types: __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
