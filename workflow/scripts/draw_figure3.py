"""Draw figure 3: H&E, the truth and the nuclei of each model side by side."""

from typing import TYPE_CHECKING

from stnuclei.evaluation.figures import figure_predictions
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], "figure 3"):
    predictions = dict(zip(params.models, source.predictions, strict=True))
    figure_predictions(
        snakemake.output.figure, source.patches[0], predictions, source.labels[0], params.taxonomy, seed=params.seed
    )
