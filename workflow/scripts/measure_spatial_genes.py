"""Abundance and Moran's I of every gene of a slide."""

from stnuclei.expression import read_table, spatial_genes
from stnuclei.files import atomic_write
from stnuclei.joblog import job

with job(snakemake.log[0], f"spatial genes of {snakemake.wildcards.slide}"):
    params = snakemake.params
    table = spatial_genes(read_table(snakemake.input.expression), graph=params.graph, min_counts=params.min_counts)
    with atomic_write(snakemake.output.table) as aside:
        table.to_csv(aside, sep="\t", index=False, float_format="%.6g")
