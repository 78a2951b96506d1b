"""Find the tissue of a slide, and what of it is blurred or marked."""

from typing import TYPE_CHECKING

from stnuclei.io import open_sample
from stnuclei.joblog import job
from stnuclei.quality import find_tissue

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], f"tissue of {snakemake.wildcards.sample}"):
    tissue = find_tissue(open_sample(snakemake.input.store), um_per_px=snakemake.params.um_per_px)
    tissue.save(snakemake.output.tissue)
    tissue.figure(snakemake.output.figure)
