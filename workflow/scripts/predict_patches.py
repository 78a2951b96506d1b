"""Predict the nuclei of all patches of a store, with the classes of a model or of a cell classifier."""

from stnuclei.cellvit import load_classifier
from stnuclei.joblog import job, job_device
from stnuclei.prediction import predict_patches

source, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
given = source.get("classifier")
with job(snakemake.log[0], f"predictions of {wildcards.classifier if given else wildcards.model} on {wildcards.set}"):
    predict_patches(
        source.checkpoint,
        source.patches,
        snakemake.output.predictions,
        threads=snakemake.threads,
        device=job_device(snakemake.resources, "auto"),
        # The tables are in the configuration's classes; those of a finer taxonomy are added up.
        classifier=load_classifier(given).collapsed(params.taxonomy) if given else None,
        **params.settings,
    )
