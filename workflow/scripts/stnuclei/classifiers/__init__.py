"""Cell classifiers: small heads on a model's frozen tokens that learn new classes in minutes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
