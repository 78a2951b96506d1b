"""Simulate a small set in PanNuke's format."""

from stnuclei.joblog import job
from stnuclei.simulate import simulate_pannuke

with job(snakemake.log[0], "simulated PanNuke folds"):
    settings = {"seed": snakemake.params.seed, **snakemake.params.settings}
    simulate_pannuke(snakemake.output[0], **settings)
