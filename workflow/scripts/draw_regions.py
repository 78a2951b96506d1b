"""Draw the regions that a person drew on a slide."""

from stnuclei.io.open_image import open_image
from stnuclei.io.regions import read_regions
from stnuclei.joblog import job
from stnuclei.quality import draw_regions

with job(snakemake.log[0], f"regions of {snakemake.wildcards.sample}"):
    slide, attributes = open_image(snakemake.input.store)
    regions = read_regions(snakemake.input.regions[0], snakemake.params.other_names)
    draw_regions(slide, float(attributes["um_per_px"]), regions, snakemake.output.figure)
