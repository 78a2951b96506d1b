"""Find the tissue of a slide, and what of it is blurred or marked."""

from stnuclei.errors import UserError
from stnuclei.io.open_image import open_image
from stnuclei.joblog import job
from stnuclei.quality import channel_problem, draw_tissue, find_tissue

with job(snakemake.log[0], f"tissue of {snakemake.wildcards.sample}"):
    # The slide alone: the cells' table of a large sample takes longer to read than the tissue to find.
    slide, attributes = open_image(snakemake.input.store)
    name = attributes["sample"]
    tissue = find_tissue(slide, attributes["um_per_px"], um_per_px=snakemake.params.um_per_px, name=name)
    if problem := channel_problem(slide, attributes["um_per_px"], tissue):
        raise UserError(f"sample {name}: {problem}")
    tissue.save(snakemake.output.tissue)
    draw_tissue(tissue, snakemake.output.figure)
