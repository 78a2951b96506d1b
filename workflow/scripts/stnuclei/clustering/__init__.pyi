from .clustering import Clustering as Clustering, cluster_cells as cluster_cells
