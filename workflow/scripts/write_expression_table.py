"""All expression baselines in one table, the published figures below."""

import pandas as pd

from stnuclei.expression.report import as_markdown, expression_table
from stnuclei.files import atomic_write
from stnuclei.joblog import job

with job(snakemake.log[0], "expression table"):
    protocols = snakemake.params.protocols
    paths = zip(protocols, snakemake.input.summary, snakemake.input.drivers, strict=True)
    table = expression_table(
        {
            name: ({"protocol": protocols[name]}, pd.read_csv(summary, sep="\t"), pd.read_csv(drivers, sep="\t"))
            for name, summary, drivers in paths
        }
    )
    with atomic_write(snakemake.output.tsv) as aside:
        table.to_csv(aside, sep="\t", index=False, float_format="%.4f")
    with atomic_write(snakemake.output.md) as aside:
        aside.write_text(as_markdown(table))
