"""Write a copy of a sample's store that carries all its labels."""

from typing import TYPE_CHECKING

import pandas as pd

from stnuclei.joblog import job
from stnuclei.labels import publish_labels

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], f"published copy of {snakemake.wildcards.sample}"):
    labels = {method: pd.read_parquet(path) for method, path in zip(params.methods, source.labels, strict=True)}
    publish_labels(source.store, labels, snakemake.output.store, taxonomy=params.taxonomy)
