"""Write table 2: segmentation of the held-out organs by every model."""

from stnuclei.classifiers import cost_note
from stnuclei.evaluation import footnotes, read_scores, table2, write_table
from stnuclei.joblog import job

params = snakemake.params
with job(snakemake.log[0], "table 2"):
    scores = read_scores(params.pairs, snakemake.input.scores)
    write_table(
        table2(scores, bootstrap_n=params.bootstrap, seed=params.seed, rows=params.rows, runs=params.runs),
        snakemake.output.tsv,
        snakemake.output.md,
        title="Table 2: segmentation of organs never trained on",
        note=footnotes(
            "In round brackets a 95 % bootstrap interval (by slide where there are several, else by patch), in square "
            "brackets the paper's figure; after ± the standard deviation over runs; Δ the difference to "
            "the model trained on manual labels. `official` counts as the "
            "published code does, `corrected` counts empty patches and pairs right.",
            params.warnings,
            *cost_note(dict(zip(params.classifiers, snakemake.input.costs, strict=True))),
        ),
    )
