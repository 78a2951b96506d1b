"""Import one fold of PanNuke: the same patch store, and its manual labels."""

from stnuclei.joblog import job
from stnuclei.patches import PatchStore, draw_contact_sheet, import_pannuke, patch_classes

with job(snakemake.log[0], f"PanNuke fold {snakemake.wildcards.fold}"):
    import_pannuke(
        snakemake.params.folder,
        snakemake.params.fold,
        snakemake.output.patches,
        snakemake.output.labels,
        taxonomy=snakemake.params.taxonomy,
        tissues=snakemake.params.tissues,
    )
    store, taxonomy = PatchStore(snakemake.output.patches), snakemake.params.taxonomy
    classes = patch_classes(store, snakemake.output.labels, taxonomy)
    draw_contact_sheet(store, snakemake.output.figure, seed=snakemake.params.seed, classes=classes, taxonomy=taxonomy)
