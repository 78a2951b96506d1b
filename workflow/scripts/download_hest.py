"""Download the files of one HEST-1k sample."""

from stnuclei.io.download import FILES, SPOT_FILES, download_hest
from stnuclei.joblog import job

chosen = snakemake.wildcards
with job(snakemake.log[0], f"HEST-1k sample {chosen.hest_id}"):
    files = SPOT_FILES if snakemake.params.spots else FILES
    download_hest([chosen.hest_id], chosen.folder, revision=snakemake.params.revision, files=files)
