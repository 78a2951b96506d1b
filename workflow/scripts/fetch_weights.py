"""Fetch an encoder's weights."""

from stnuclei.fetch import fetch
from stnuclei.joblog import job

with job(snakemake.log[0], f"weights {snakemake.wildcards.weights}"):
    print(snakemake.params.url, "SHA-256", fetch(snakemake.params.url, snakemake.output.weights))
