"""Write table 3: classes of the annotated slide by every model."""

from stnuclei.classifiers import cost_note
from stnuclei.evaluation import footnotes, read_scores, table3, write_table
from stnuclei.joblog import job

params = snakemake.params
OTHER = {
    "exclude": "Nuclei predicted as a class that expression cannot tell (Dead) are left out; `other` counts them.",
    "wrong": "Nuclei predicted as a class that expression cannot tell (Dead) count as wrong; `other` counts them.",
}
with job(snakemake.log[0], "table 3"):
    scores = read_scores(params.pairs, snakemake.input.scores)
    settings = {"bootstrap_n": params.bootstrap, "seed": params.seed, "rows": params.rows, "runs": params.runs}
    write_table(
        table3(scores, params.taxonomy, other=params.other, **settings),
        snakemake.output.tsv,
        snakemake.output.md,
        title="Table 3: classes of nuclei on the annotated slide",
        note=footnotes(
            "Over matched nuclei with a class in the annotation; in round brackets a 95 % bootstrap interval (by slide "
            "where there are several, else by patch), in square brackets the paper's figure; after ± the "
            "standard deviation over runs; Δ the difference to the model trained on manual labels. "
            f"{OTHER[params.other]}",
            params.warnings,
            *cost_note(dict(zip(params.classifiers, snakemake.input.costs, strict=True))),
        ),
    )
