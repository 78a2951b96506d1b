"""Draw figure 3: H&E, the truth and the nuclei of a few models side by side."""

import pandas as pd

from stnuclei.evaluation import figure_predictions
from stnuclei.evaluation.figures import ShownPatches
from stnuclei.joblog import job

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], "figure 3"):
    scores = [pd.read_parquet(path).query("policy == 'official'") for path in source.scores]
    shown = figure_predictions(
        snakemake.output.figure,
        source.patches[0],
        dict(zip(params.titles, source.predictions, strict=True)),
        source.labels[0],
        params.taxonomy,
        truth=params.truth,
        scores=scores,
        shown=ShownPatches(seed=params.seed),
    )
    print("patches", shown)
