"""Write the nuclei of a slide for QuPath, count them and draw them."""

from pathlib import Path

from stnuclei.export import draw_slide, find_slide, write_geojson, write_summary
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.joblog import job

source, output, settings = snakemake.input, snakemake.output, snakemake.params.settings
with job(snakemake.log[0], f"exports of {snakemake.wildcards.wsi} by {snakemake.wildcards.segmenter}"):
    nuclei = NucleiFile(source.nuclei)
    write_geojson(nuclei, output.qupath, form=settings["geojson"], max_nuclei_per_file=settings["max_nuclei_per_file"])
    print(write_summary(nuclei, output.summary).to_string(index=False))
    draw_slide(nuclei, Path(output.overview).parent, find_slide(nuclei, snakemake.params.path), source.tissue)
