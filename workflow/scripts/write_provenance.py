"""Write what a run was made from and the content hashes of what it made."""

import json
from pathlib import Path

from stnuclei.files import atomic_write
from stnuclei.joblog import job
from stnuclei.provenance import describe_run

with job(snakemake.log[0], "provenance of the run"):
    models = dict(zip(snakemake.params.models, snakemake.input.checkpoints, strict=True))
    described = describe_run(
        snakemake.params.config,
        snakemake.params.samples,
        [json.loads(Path(path).read_text()) for path in snakemake.input.sets],
        models,
        Path(__file__).resolve().parents[2],
    )
    with atomic_write(snakemake.output.provenance) as aside:
        aside.write_text(json.dumps(described, indent=1))
