"""Train H&E nuclei models from spatial transcriptomics instead of hand-drawn annotations (arXiv 2604.23481)."""

import lazy_loader

__version__ = "0.1.0"

# Names are imported on first use: `import stnuclei` must not wait for torch. Types: __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
