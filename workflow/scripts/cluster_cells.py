"""Cluster the cells of a sample and rank the genes of each cluster."""

from stnuclei.clustering import cluster_cells
from stnuclei.config.labels import ClusteringBlock
from stnuclei.io import open_sample
from stnuclei.joblog import job

with job(snakemake.log[0], f"clusters of {snakemake.wildcards.sample}"):
    clustering = cluster_cells(
        open_sample(snakemake.input.store).stored_table,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        settings=ClusteringBlock(**snakemake.params.settings),
    )
    clustering.save(snakemake.output.clusters, snakemake.output.ranked_genes)
