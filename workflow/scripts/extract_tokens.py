"""Take the tokens of the nuclei of a patch store from a trained model."""

from stnuclei.classifiers import extract_tokens
from stnuclei.joblog import job, job_device

wildcards = snakemake.wildcards
with job(snakemake.log[0], f"tokens of {wildcards.set} from {wildcards.base}"):
    extract_tokens(
        snakemake.input.checkpoint,
        snakemake.input.patches,
        snakemake.output.tokens,
        tokens=wildcards.tokens,
        nuclei=wildcards.nuclei,
        threads=snakemake.threads,
        device=job_device(snakemake.resources, "auto"),
        **snakemake.params.settings,
    )
