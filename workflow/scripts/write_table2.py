"""Write table 2: segmentation of the held-out organs by every model."""

from typing import TYPE_CHECKING

import pandas as pd

from stnuclei.evaluation import table2, write_table
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

params = snakemake.params
with job(snakemake.log[0], "table 2"):
    scores = [
        pd.read_parquet(path).assign(model=model, sample=sample)
        for (model, sample), path in zip(params.pairs, snakemake.input.scores, strict=True)
    ]
    write_table(
        table2(pd.concat(scores), bootstrap_n=params.bootstrap, seed=params.seed, rows=params.rows),
        snakemake.output.tsv,
        snakemake.output.md,
        title="Table 2: segmentation of organs never trained on",
        note="In round brackets a 95 % bootstrap interval (by slide where there are several, else by patch), in square "
        "brackets the paper's figure. `official` counts as the published code does, `corrected` counts empty patches "
        "and pairs right.",
    )
