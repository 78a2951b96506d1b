"""Count true and predicted classes over the matched nuclei of an annotated slide, by both policies."""

from typing import TYPE_CHECKING

import pandas as pd

from stnuclei.evaluation import score_classification
from stnuclei.evaluation.figures import figure_confusion
from stnuclei.files import write_aside
from stnuclei.io import open_sample
from stnuclei.joblog import job
from stnuclei.labels import read_annotation

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

row, params = snakemake.params.sample, snakemake.params
with job(snakemake.log[0], f"class scores of {snakemake.wildcards.model} on {row['sample']}"):
    annotation = read_annotation(
        row["annotation"], row["annotation_map"] or None, params.taxonomy, sample=row["sample"]
    ).set_index("cell_id")["label"]
    cells = open_sample(snakemake.input.store).table.obs["cell_id"].astype(str)
    truth = pd.DataFrame({"cell_id": cells.to_numpy(), "label": annotation.reindex(cells).fillna("Unknown").to_numpy()})
    scores = [
        score_classification(
            snakemake.input.patches,
            truth,
            snakemake.input.predictions,
            params.taxonomy,
            policy,
            radius_um=params.radius_um,
            threads=snakemake.threads,
        ).assign(policy=policy)
        for policy in ("official", "corrected")
    ]
    with write_aside(snakemake.output.scores) as aside:
        pd.concat(scores).to_parquet(aside, index=False)
    figure_confusion(
        snakemake.output.figure, scores[0], params.taxonomy, title=f"{snakemake.wildcards.model} on {row['sample']}"
    )
