"""Draw the label sets of a sample side by side and say how far they agree."""

from stnuclei.io import open_sample
from stnuclei.joblog import job
from stnuclei.labels import draw_comparison, label_agreement
from stnuclei.tables import read_table

with job(snakemake.log[0], f"labels of {snakemake.wildcards.sample}"):
    sets = {
        method: read_table(path) for method, path in zip(snakemake.params.methods, snakemake.input.labels, strict=True)
    }
    label_agreement(sets).to_csv(snakemake.output.agreement, sep="\t")
    sample = open_sample(snakemake.input.store)
    draw_comparison(
        sample.table, sets, snakemake.output.figure, taxonomy=snakemake.params.taxonomy, um_per_px=sample.um_per_px
    )
