"""Predict the nuclei of all patches of a store, with the classes of a cell classifier."""

from stnuclei.cellvit import load_classifier
from stnuclei.joblog import job, job_device
from stnuclei.prediction import predict_patches

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], f"predictions of {snakemake.wildcards.classifier} on {snakemake.wildcards.set}"):
    classifier = load_classifier(source.classifier)
    predict_patches(
        source.checkpoint,
        source.patches,
        snakemake.output.predictions,
        threads=snakemake.threads,
        device=job_device(snakemake.resources, "auto"),
        # The tables are in the configuration's classes; those of a finer taxonomy are added up.
        classifier=classifier.collapsed(params.taxonomy),
        **params.settings,
    )
