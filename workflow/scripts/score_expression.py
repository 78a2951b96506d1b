"""Score a baseline beside its nulls, and draw what goes with predictability."""

import pandas as pd
from anndata import read_h5ad

from stnuclei.config.expression import ScoreSettings
from stnuclei.expression import score_expression
from stnuclei.expression.figures import draw_maps, draw_predictability
from stnuclei.files import atomic_write
from stnuclei.joblog import job
from stnuclei.markers import load_markers

params, output = snakemake.params, snakemake.output
name = snakemake.wildcards.baseline
with job(snakemake.log[0], f"scores of {name}"):
    predictions = read_h5ad(snakemake.input.result)
    spatial = {
        slide: pd.read_csv(path, sep="\t", dtype={"gene": str}, keep_default_na=False, na_values=[""])
        for slide, path in zip(params.slides, snakemake.input.spatial, strict=True)
    }
    tables = load_markers(taxonomy=params.taxonomy)
    markers = {gene for tissue in params.tissues for gene in tables.for_tissue(tissue)["symbol"]}
    shuffled = [read_h5ad(path) for path in snakemake.input.shuffled]
    scores = score_expression(predictions, shuffled, spatial, markers, ScoreSettings(**params.scores), params.seed)
    for table in ("genes", "summary", "drivers"):
        with atomic_write(output.get(table)) as aside:
            getattr(scores, table).to_csv(aside, sep="\t", index=False, float_format="%.6g")
    title = f"{name}: {predictions.uns['model']['network']}, {params.protocol.replace('_', ' ')}"
    draw_predictability(output.figure, scores.genes, scores.summary, scores.drivers, title)
    draw_maps(output.maps, predictions, scores.genes, title)
    print(scores.summary.to_string(index=False))
