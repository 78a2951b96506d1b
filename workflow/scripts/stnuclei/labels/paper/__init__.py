"""The published method: marker voting by cluster, then the cancer-gene rule."""
