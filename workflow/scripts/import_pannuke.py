"""Import one fold of PanNuke: the same patch store, and its manual labels."""

from typing import TYPE_CHECKING

from stnuclei.joblog import job
from stnuclei.patches import PatchStore, draw_contact_sheet, import_pannuke

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], f"PanNuke fold {snakemake.wildcards.fold}"):
    import_pannuke(
        snakemake.params.folder,
        snakemake.params.fold,
        snakemake.output.patches,
        snakemake.output.labels,
        taxonomy=snakemake.params.taxonomy,
        tissues=snakemake.params.tissues,
    )
    draw_contact_sheet(PatchStore(snakemake.output.patches), snakemake.output.figure, seed=snakemake.params.seed)
