"""The default method: marker evidence against null models, lineage by cluster, malignancy of epithelium."""
