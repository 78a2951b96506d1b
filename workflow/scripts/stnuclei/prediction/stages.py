"""Names of a segmentation's stages, as `stnuclei.progress.StageTimer` times them."""

READING, NETWORK, SEPARATION, MERGING = "reading", "network", "post-processing", "merging"
