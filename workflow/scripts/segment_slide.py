"""Find the nuclei of a slide; a retry goes on where a killed try stopped."""

from pathlib import Path

from stnuclei.errors import UserError
from stnuclei.files import deliver, remove
from stnuclei.joblog import job, job_device
from stnuclei.prediction import segment_slide

params, output, wildcards = snakemake.params, snakemake.output, snakemake.wildcards
with job(snakemake.log[0], f"segmentation of {wildcards.wsi} by {wildcards.segmenter}"):
    state = Path(params.state)
    counts = segment_slide(
        snakemake.input.checkpoint,
        params.path,
        state,
        name=wildcards.wsi,
        um_per_px=float(params.um_per_px) if params.um_per_px else None,
        # What the table says is believed, also against the file.
        override_um_per_px=bool(params.um_per_px),
        threads=snakemake.threads,
        classifier=next(iter(snakemake.input.classifier), None),
        **{**params.settings, "device": job_device(snakemake.resources, params.settings["device"])},
    )
    if not (state / "tissue.tif").is_file():
        raise UserError(f"{params.path}: is a folder of pictures, not a slide; segment it by stnuclei segment")
    for made, wanted in (("tissue.tif", "tissue"), ("tissue.png", "figure"), ("nuclei.parquet", "nuclei")):
        deliver(state / made, output.get(wanted))
    # Last: a job killed before this line finds the finished state and delivers it again.
    remove(state)
    print({name: value for name, value in counts.items() if name != "stages"})
