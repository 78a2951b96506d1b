"""Score the label sets of a sample against its manual annotation."""

from stnuclei.io import read_annotation
from stnuclei.joblog import job
from stnuclei.labels import draw_scores, score_labels
from stnuclei.tables import read_table

row = snakemake.params.sample
with job(snakemake.log[0], f"label scores of {row['sample']}"):
    taxonomy = snakemake.params.taxonomy
    annotation = read_annotation(row["annotation"], row["annotation_map"] or None, taxonomy, sample=row["sample"])
    sets = {
        method: read_table(path) for method, path in zip(snakemake.params.methods, snakemake.input.labels, strict=True)
    }
    scores = score_labels(sets, annotation, taxonomy)
    scores.save(snakemake.output.table)
    draw_scores(scores, snakemake.output.figure)
