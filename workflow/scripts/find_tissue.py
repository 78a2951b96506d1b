"""Find the tissue of a slide, and what of it is blurred or marked."""

from typing import TYPE_CHECKING

from stnuclei.io.open_image import open_image
from stnuclei.joblog import job
from stnuclei.quality import draw_tissue, find_tissue

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], f"tissue of {snakemake.wildcards.sample}"):
    # The slide alone: the cells' table of a large sample takes longer to read than the tissue to find.
    slide, attributes = open_image(snakemake.input.store)
    name = attributes["sample"]
    tissue = find_tissue(slide, attributes["um_per_px"], um_per_px=snakemake.params.um_per_px, name=name)
    tissue.save(snakemake.output.tissue)
    draw_tissue(tissue, snakemake.output.figure)
