"""Draw figure 2: the same patches labelled by each method."""

from typing import TYPE_CHECKING

from stnuclei.evaluation.figures import figure_labels
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

params = snakemake.params
with job(snakemake.log[0], "figure 2"):
    labels = dict(zip(params.methods, snakemake.input.labels, strict=True))
    figure_labels(snakemake.output.figure, snakemake.input.patches[0], labels, params.taxonomy, seed=params.seed)
