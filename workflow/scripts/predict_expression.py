"""Predict the expression of tested patches and of slides of other tissues."""

from pathlib import Path

import pandas as pd

from stnuclei.expression import PatchSource, predict_expression, write_table
from stnuclei.joblog import job, job_device

source = snakemake.input


def slides(patches: list[str], tables: list[str]) -> list[PatchSource]:
    """Patch stores with the table of each."""
    return [PatchSource(Path(store), Path(table)) for store, table in zip(patches, tables, strict=True)]


with job(snakemake.log[0], f"predictions of {snakemake.wildcards.baseline} ({snakemake.wildcards.run})"):
    predictions = predict_expression(
        source.checkpoint,
        slides(source.patches, source.expression),
        pd.read_csv(source.split, sep="\t", dtype={"sample": str}),
        slides(source.cross_patches, source.cross_expression),
        threads=snakemake.threads,
        device=job_device(snakemake.resources, "auto"),
    )
    write_table(predictions, snakemake.output.predictions)
