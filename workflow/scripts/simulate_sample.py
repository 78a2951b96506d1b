"""Simulate one Xenium run with its H&E."""

from stnuclei.joblog import job
from stnuclei.simulate import simulate_sample

with job(snakemake.log[0], f"simulated run {snakemake.wildcards.name}"):
    settings = {"seed": snakemake.params.seed, **snakemake.params.settings}
    simulate_sample(snakemake.output[0], **settings)
