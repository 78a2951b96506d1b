"""Write PanNuke's test folds as the CellViT paper does: means over tissues, then over folds; and tissue by tissue."""

from stnuclei.evaluation import footnotes, pannuke_table, pannuke_tissues, read_scores, write_table
from stnuclei.joblog import job

params, output = snakemake.params, snakemake.output
NOTE = (
    "mPQ and bPQ are means over the tissues of the means over their patches, then over folds; `patches` means over all "
    "patches. In square brackets what the CellViT paper has for the same network; after ± the standard deviation "
    "over folds."
)
with job(snakemake.log[0], "PanNuke tables"):
    scores = read_scores(params.pairs, snakemake.input.scores)
    known = {"rows": params.rows, "runs": params.runs}
    note = footnotes(NOTE, params.warnings)
    write_table(pannuke_table(scores, **known), output.tsv, output.md, title="PanNuke, unseen folds", note=note)
    tissues = pannuke_tissues(scores, **known)
    write_table(tissues, output.tissues_tsv, output.tissues_md, title="PanNuke, unseen folds, by tissue", note=note)
