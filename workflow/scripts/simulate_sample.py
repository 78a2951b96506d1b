"""Simulate one Xenium run with its H&E."""

from typing import TYPE_CHECKING

from stnuclei.joblog import job
from stnuclei.simulate import simulate_sample

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], f"simulated run {snakemake.wildcards.name}"):
    settings = {"seed": snakemake.params.seed, **snakemake.params.settings}
    simulate_sample(snakemake.output[0], **settings)
