"""Write a trained model for another program."""

from stnuclei.cellvit.export import export_model
from stnuclei.joblog import job

params = snakemake.params
with job(snakemake.log[0], f"export of {snakemake.wildcards.model} as {params.format}"):
    export_model(snakemake.input.checkpoint, snakemake.output.file, params.format, params.size)
