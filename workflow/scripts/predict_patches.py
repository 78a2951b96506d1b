"""Predict the nuclei of all patches of a store."""

from stnuclei.joblog import job, job_device
from stnuclei.prediction import predict_patches

with job(snakemake.log[0], f"predictions of {snakemake.wildcards.model} on {snakemake.wildcards.set}"):
    predict_patches(
        snakemake.input.checkpoint,
        snakemake.input.patches,
        snakemake.output.predictions,
        threads=snakemake.threads,
        device=job_device(snakemake.resources, "auto"),
        **snakemake.params.settings,
    )
