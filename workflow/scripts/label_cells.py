"""Label the cells of a sample by one method."""

from stnuclei.io import open_sample
from stnuclei.io.regions import read_regions
from stnuclei.joblog import job
from stnuclei.labels import draw_labels, label_cells, restrict_labels, write_explorer_groups
from stnuclei.tables import read_table

row = snakemake.params.sample
with job(snakemake.log[0], f"labels of {row['sample']} by {snakemake.wildcards.method}"):
    sample = open_sample(snakemake.input.store)
    table = sample.table
    labels = label_cells(
        table,
        snakemake.wildcards.method,
        row["tissue"],
        clusters=read_table(snakemake.input.clusters),
        ranked_genes=read_table(snakemake.input.ranked_genes),
        taxonomy=snakemake.params.taxonomy,
        disease=row["disease"] or None,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        **snakemake.params.settings,
    )
    if snakemake.input.regions:
        regions = read_regions(snakemake.input.regions[0], snakemake.params.other_names)
        labels = restrict_labels(labels, table.obsm["spatial"], regions, snakemake.params.taxonomy)
    print(labels.info["counts"])
    labels.save(snakemake.output.labels, snakemake.output.evidence)
    write_explorer_groups(labels.cells, snakemake.output.explorer)
    draw_labels(table, labels, snakemake.output.figure, taxonomy=snakemake.params.taxonomy, um_per_px=sample.um_per_px)
