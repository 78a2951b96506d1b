"""Simulate a small set in PanNuke's format."""

from typing import TYPE_CHECKING

from stnuclei.joblog import job
from stnuclei.simulate import simulate_pannuke

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], "simulated PanNuke folds"):
    settings = {"seed": snakemake.params.seed, **snakemake.params.settings}
    simulate_pannuke(snakemake.output[0], **settings)
