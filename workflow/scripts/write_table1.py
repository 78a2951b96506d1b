"""Write table 1: tissues, slides, patches and nuclei of each split."""

from stnuclei.evaluation import describe_store, footnotes, table1, write_table
from stnuclei.joblog import job

splits = snakemake.params.splits
with job(snakemake.log[0], "table 1"):
    entries = [
        describe_store(path, "spatial transcriptomics" if name in splits else "PanNuke", splits.get(name, "val"))
        for name, path in zip(snakemake.params.sets, snakemake.input.patches, strict=True)
    ]
    write_table(
        table1(entries),
        snakemake.output.tsv,
        snakemake.output.md,
        title="Table 1: the data",
        note=footnotes(
            "In brackets: the paper's figure. Tissues are grouped as HEST-1k's organs. `nuclei` counts each "
            "once a slide, `nuclei in patches` in every patch it touches.",
            snakemake.params.warnings,
        ),
    )
