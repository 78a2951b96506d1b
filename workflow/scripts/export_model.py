"""Write a trained model for another program."""

from typing import TYPE_CHECKING

from stnuclei.cellvit.export import export_model
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

params = snakemake.params
with job(snakemake.log[0], f"export of {snakemake.wildcards.model} as {params.format}"):
    export_model(snakemake.input.checkpoint, snakemake.output.file, params.format, params.size)
