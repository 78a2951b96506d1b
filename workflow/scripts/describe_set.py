"""Write what one set of patches was made from, and the content hashes of its patches and labels."""

import json
from pathlib import Path

from stnuclei.files import atomic_write
from stnuclei.io import open_sample
from stnuclei.joblog import job
from stnuclei.provenance import describe_set

name = snakemake.wildcards.set
with job(snakemake.log[0], f"provenance of {name}"):
    store = snakemake.input.get("store")
    labels = {f"labels/{Path(path).name}": path for path in snakemake.input.labels}
    described = describe_set(
        name,
        {"patches.zarr": snakemake.input.patches, **labels},
        recorded=open_sample(store).provenance["sources"] if store else {},
        others=snakemake.input.others,
    )
    with atomic_write(snakemake.output.provenance) as aside:
        aside.write_text(json.dumps(described, indent=1))
