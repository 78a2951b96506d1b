"""Score the predicted nuclei of a patch store, one row a patch, by both policies."""

from typing import TYPE_CHECKING

import pandas as pd

from stnuclei.evaluation import score_segmentation
from stnuclei.evaluation.figures import error_atlas
from stnuclei.files import write_aside
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], f"segmentation scores of {snakemake.wildcards.model} on {snakemake.wildcards.set}"):
    scores = [
        score_segmentation(
            snakemake.input.patches,
            snakemake.input.predictions,
            policy=policy,
            radius_um=snakemake.params.radius_um,
            threads=snakemake.threads,
        ).assign(policy=policy)
        for policy in ("official", "corrected")
    ]
    with write_aside(snakemake.output.scores) as aside:
        pd.concat(scores).to_parquet(aside, index=False)
    error_atlas(snakemake.output.atlas, snakemake.input.patches, snakemake.input.predictions, scores[0], n=3)
