"""Write table 3: classes of the annotated slide by every model."""

from typing import TYPE_CHECKING

import pandas as pd

from stnuclei.evaluation import table3, write_table
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

params = snakemake.params
with job(snakemake.log[0], "table 3"):
    scores = [
        pd.read_parquet(path).assign(model=model, sample=sample)
        for (model, sample), path in zip(params.pairs, snakemake.input.scores, strict=True)
    ]
    table = table3(pd.concat(scores), params.taxonomy, bootstrap_n=params.bootstrap, seed=params.seed, rows=params.rows)
    write_table(
        table,
        snakemake.output.tsv,
        snakemake.output.md,
        title="Table 3: classes of nuclei on the annotated slide",
        note="Over matched nuclei with a class in the annotation; in round brackets a 95 % bootstrap interval (by "
        "slide where there are several, else by patch), in square brackets the paper's figure.",
    )
