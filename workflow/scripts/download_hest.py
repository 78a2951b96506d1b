"""Download the files of one HEST-1k sample."""

from typing import TYPE_CHECKING

from stnuclei.io.download import FILES, SPOT_FILES, download_hest
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

chosen = snakemake.wildcards
with job(snakemake.log[0], f"HEST-1k sample {chosen.hest_id}"):
    files = SPOT_FILES if snakemake.params.spots else FILES
    download_hest([chosen.hest_id], chosen.folder, revision=snakemake.params.revision, files=files)
