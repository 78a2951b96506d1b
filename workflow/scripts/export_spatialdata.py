"""Write the nuclei of a slide as a SpatialData store, with the H&E where it is asked for."""

from stnuclei.export import find_slide, write_spatialdata
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.joblog import job

params, wildcards = snakemake.params, snakemake.wildcards
with job(snakemake.log[0], f"SpatialData store of {wildcards.wsi} by {wildcards.segmenter}"):
    nuclei = NucleiFile(snakemake.input.nuclei)
    slide = find_slide(nuclei, params.path) if params.copy_image else None
    write_spatialdata(nuclei, snakemake.output.store, slide, threads=snakemake.threads)
