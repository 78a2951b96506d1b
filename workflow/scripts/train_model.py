"""Train one CellViT, in this process or by torchrun in several; a retry goes on where a killed try stopped."""

import json
from pathlib import Path

from stnuclei.files import deliver
from stnuclei.joblog import job, job_device
from stnuclei.training.launch import launch


def sources(patches: list[str], labels: list[str]) -> list[dict[str, str]]:
    """Patch stores with the label table of each."""
    return [{"patches": store, "labels": table} for store, table in zip(patches, labels, strict=True)]


source, params, output = snakemake.input, snakemake.params, snakemake.output
settings = dict(params.settings)
settings["device"] = job_device(snakemake.resources, settings["device"])
processes = settings["processes"]
if settings["workers"] is None:
    settings["workers"] = max(1, snakemake.threads // processes)
with job(snakemake.log[0], f"training of {snakemake.wildcards.model}"):
    state = Path(params.state)
    state.mkdir(parents=True, exist_ok=True)
    run = state / "run.json"
    content = {
        "sources": sources(source.patches, source.labels),
        "validation": sources(source.validation_patches, source.validation_labels),
        "out_dir": str(state),
        "settings": settings,
        "taxonomy": params.taxonomy,
        "provenance": {"model": snakemake.wildcards.model, **params.sources},
    }
    run.write_text(json.dumps(content, indent=2))
    launch(run, processes)
    for made, wanted in (("checkpoint.pt", "checkpoint"), ("history.csv", "history"), ("curves.png", "curves")):
        deliver(state / made, output.get(wanted))
