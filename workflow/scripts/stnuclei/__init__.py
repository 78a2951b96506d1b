"""Train H&E nuclei models from spatial transcriptomics instead of hand-drawn annotations (arXiv 2604.23481)."""

__version__ = "0.1.0"
