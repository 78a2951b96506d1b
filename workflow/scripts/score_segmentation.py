"""Score the predicted nuclei of a patch store, one row a patch, by both policies."""

import pandas as pd

from stnuclei.evaluation import error_atlas, score_segmentation
from stnuclei.joblog import job
from stnuclei.tables import write_table

source, params = snakemake.input, snakemake.params
labels = next(iter(source.labels), None)  # classes of the true nuclei, where there are any
with job(snakemake.log[0], f"segmentation scores of {snakemake.wildcards.model} on {snakemake.wildcards.set}"):
    scores = [
        score_segmentation(
            source.patches,
            source.predictions,
            policy=policy,
            radius_um=params.radius_um,
            labels=labels,
            taxonomy=params.taxonomy,
            threads=snakemake.threads,
        ).assign(policy=policy)
        for policy in ("official", "corrected")
    ]
    write_table(pd.concat(scores), snakemake.output.scores)
    error_atlas(snakemake.output.atlas, source.patches, source.predictions, scores[0], labels, params.taxonomy, n=3)
