"""Write the scores by organ, by class, by size of nucleus and by confidence."""

from stnuclei.evaluation import figure_calibration, figure_pq, footnotes, read_scores, write_table
from stnuclei.evaluation.breakdowns import (
    calibration_table,
    calibration_tables,
    class_table,
    organ_table,
    size_table,
)
from stnuclei.joblog import job

params, output = snakemake.params, snakemake.output
TITLES = {
    "organs": ("Segmentation by organ", "Round brackets: 95 % bootstrap interval, by slide or else by patch."),
    "classes": (
        "Classes of nuclei",
        "F1, precision and recall as HoVer-Net and CellViT count them (nuclei without a partner included), matched "
        "F1 over pairs alone, PQ as the mean over patches; mean PQ is mPQ.",
    ),
    "sizes": ("Recall by area", "Fraction of true nuclei with a prediction of IoU above one half."),
    "calibration": (
        "Calibration",
        "Correct classes by predicted probability; ECE: expected calibration error.",
    ),
}
with job(snakemake.log[0], "breakdowns"):
    segmentation = read_scores(params.segmentation, snakemake.input.segmentation)
    classes = read_scores(params.classes, snakemake.input.classes)
    tables = {
        "organs": organ_table(segmentation, params.runs, params.bootstrap, params.seed),
        "sizes": size_table(segmentation, params.runs),
    }
    if len(classes):
        bins = calibration_tables(classes, params.taxonomy)
        tables["classes"] = class_table(classes, segmentation, params.taxonomy, params.runs)
        tables["calibration"] = calibration_table(bins)
        figure_calibration(output.calibration, bins)
    for name, table in tables.items():
        title, note = TITLES[name]
        write_table(table, output[f"{name}_tsv"], output[f"{name}_md"], title, footnotes(note, params.warnings))
    official = segmentation[segmentation["policy"] == "official"]
    figure_pq(output.pq, dict(list(official.groupby("model", sort=False))))
