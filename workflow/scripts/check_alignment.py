"""Check that the nuclei from DAPI lie on the nuclei of the H&E."""

from stnuclei.errors import UserError
from stnuclei.io import open_sample
from stnuclei.joblog import job
from stnuclei.quality import TissueMap, check_alignment, draw_alignment

settings = snakemake.params.settings
with job(snakemake.log[0], f"alignment of {snakemake.wildcards.sample}"):
    sample, tissue = open_sample(snakemake.input.store), TissueMap.load(snakemake.input.tissue)
    report = check_alignment(
        sample,
        tissue,
        max_shift_um=settings["max_shift_um"],
        refine=settings["refine"],
        seed=snakemake.params.seed,
    )
    draw_alignment(report, sample, tissue, snakemake.output.figure)
    report.save_json(snakemake.output.checked)
    print(report.message)
    if not report.passed and settings["on_failure"] == "stop":
        raise UserError(f"{report.message}; alignment.on_failure: flag goes on all the same")
