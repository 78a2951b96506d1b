"""Cut a slide into patches with the ids of their nuclei."""

from stnuclei.io import open_sample
from stnuclei.io.regions import read_regions
from stnuclei.joblog import job
from stnuclei.patches import PatchStore, cut_patches, draw_contact_sheet
from stnuclei.quality import TissueMap, load_correction

with job(snakemake.log[0], f"patches of {snakemake.wildcards.sample}"):
    path, names = snakemake.input.regions, snakemake.params.other_names
    regions = read_regions(path[0], names) if path else None
    cut_patches(
        open_sample(snakemake.input.store),
        snakemake.output.patches,
        tissue_map=TissueMap.load(snakemake.input.tissue),
        correction=load_correction(snakemake.input.alignment),
        regions=regions,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        **snakemake.params.settings,
    )
    draw_contact_sheet(PatchStore(snakemake.output.patches), snakemake.output.figure, seed=snakemake.params.seed)
