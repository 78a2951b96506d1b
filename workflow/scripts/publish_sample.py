"""Write a copy of a sample's store that carries all its labels."""

from stnuclei.joblog import job
from stnuclei.labels import publish_labels
from stnuclei.tables import read_table

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], f"published copy of {snakemake.wildcards.sample}"):
    labels = {method: read_table(path) for method, path in zip(params.methods, source.labels, strict=True)}
    publish_labels(source.store, labels, snakemake.output.store, taxonomy=params.taxonomy)
