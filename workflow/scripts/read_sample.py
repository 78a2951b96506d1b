"""Read one sample of any platform and write it as one store."""

from stnuclei.config.samples import PLATFORM_COLUMNS
from stnuclei.io import read_sample, write_sample
from stnuclei.io.read import platform_options
from stnuclei.joblog import job

row, settings = snakemake.params.sample, snakemake.params.settings
with job(snakemake.log[0], f"sample {row['sample']}"):
    # A cell that is filled is passed whatever the platform, so that one that does not apply is refused, not ignored.
    columns = {"id": "hest_id", "nuclei": "nuclei", "counts": "counts"} | {name: name for name in PLATFORM_COLUMNS}
    options = {option: row[column] for option, column in columns.items() if row[column]}
    known = platform_options(row["platform"])
    options |= {option: settings[option] for option in ("min_qv", "count_in") if option in known}
    if settings["count_in"] == "nuclei" and not row["nuclei"]:  # nuclei segmented anew are counted in already
        options["count_in"] = "nuclei"
    sample = read_sample(
        row["platform"],
        row["path"],
        he_image=row["he_image"] or None,
        he_alignment=row["he_alignment"] or None,
        sample=row["sample"],
        tissue=row["tissue"],
        he_um_per_px=float(row["he_um_per_px"]) if row["he_um_per_px"] else None,
        pixel_size_tolerance=settings["pixel_size_tolerance"],
        **options,
    )
    write_sample(sample, snakemake.output.store, copy_image=settings["copy_image"], threads=snakemake.threads)
