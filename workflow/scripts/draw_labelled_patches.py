"""Draw random patches of a sample, nuclei outlined in the colours of their labels."""

from stnuclei.joblog import job
from stnuclei.patches import PatchStore, draw_contact_sheet, patch_classes

params = snakemake.params
with job(snakemake.log[0], f"labelled patches of {snakemake.wildcards.sample}"):
    store = PatchStore(snakemake.input.patches)
    classes = patch_classes(store, snakemake.input.labels[0], params.taxonomy)
    draw_contact_sheet(store, snakemake.output.figure, seed=params.seed, classes=classes, taxonomy=params.taxonomy)
