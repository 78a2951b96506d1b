"""Count true and predicted classes over the matched nuclei of an annotated set, by both policies."""

import pandas as pd

from stnuclei.evaluation import figure_confusion, score_classification
from stnuclei.joblog import job
from stnuclei.tables import write_table

source, params = snakemake.input, snakemake.params
name = f"{snakemake.wildcards.model} on {snakemake.wildcards.set}"
with job(snakemake.log[0], f"class scores of {name}"):
    scores = [
        score_classification(
            source.patches,
            source.labels[0],
            source.predictions,
            params.taxonomy,
            policy,
            radius_um=params.radius_um,
            threads=snakemake.threads,
        ).assign(policy=policy)
        for policy in ("official", "corrected")
    ]
    write_table(pd.concat(scores), snakemake.output.scores)
    figure_confusion(snakemake.output.figure, scores[0], params.taxonomy, title=name)
