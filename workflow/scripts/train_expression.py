"""Train one network of the expression baseline; a retry goes on where a killed try stopped."""

from pathlib import Path

import pandas as pd

from stnuclei.config import ExpressionSettings
from stnuclei.expression import PatchSource, train_expression
from stnuclei.expression.figures import draw_history
from stnuclei.expression.predict import load_model
from stnuclei.files import deliver
from stnuclei.joblog import job, job_device

source, params, output = snakemake.input, snakemake.params, snakemake.output
name, run = snakemake.wildcards.baseline, snakemake.wildcards.run
with job(snakemake.log[0], f"expression baseline {name} ({run})"):
    state = Path(params.state)
    pairs = zip(source.patches, source.expression, strict=True)
    settings = ExpressionSettings.from_dict(params.settings)
    device = job_device(snakemake.resources, settings.device)
    settings = settings.replace(workers=settings.workers or snakemake.threads, device=device)
    train_expression(
        [PatchSource(Path(patches), Path(table)) for patches, table in pairs],
        state,
        settings,
        params.protocol,
        held_out=params.held_out,
        shuffle=int(run.partition("_")[2] or 0),
        provenance={"model": name, "samples": list(params.samples), "protocol": params.protocol},
    )
    for made in ("checkpoint", "split", "history"):
        deliver(state / Path(output.get(made)).name, output.get(made))
    title = f"{name}: {settings.network}, {params.protocol.replace('_', ' ')}, {run}"
    draw_history(output.curves, pd.read_csv(output.history), title, load_model(output.checkpoint)[1]["epoch"])
