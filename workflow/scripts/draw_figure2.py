"""Draw figure 2: the same patches labelled by hand and by each method."""

from stnuclei.evaluation import figure_labels
from stnuclei.evaluation.figures import ShownPatches
from stnuclei.joblog import job

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], "figure 2"):
    labels = dict(zip(params.methods, source.labels, strict=True))
    annotation = next(iter(source.annotation), None)
    shown = figure_labels(
        snakemake.output.figure,
        source.patches[0],
        labels,
        params.taxonomy,
        annotation=annotation,
        shown=ShownPatches(seed=params.seed),
    )
    print("patches", shown)
