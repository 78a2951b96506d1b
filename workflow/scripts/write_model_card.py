"""Write the card of a trained model: its data, recipe, scores, terms and limits."""

from pathlib import Path

import pandas as pd

from stnuclei.evaluation import describe_store
from stnuclei.joblog import job
from stnuclei.reporting import write_card

KINDS = {"table2": "segmentation", "table3": "classification"}
source, params, model = snakemake.input, snakemake.params, snakemake.wildcards.model
with job(snakemake.log[0], f"card of {model}"):
    sets = []
    for entry, store in zip(params.sets, source.patches, strict=True):
        described = describe_store(store, entry["platform"], entry["split"])
        sets.append(
            {
                **entry,
                "tissue": ", ".join(described["tissues"]),
                **{key: described[key] for key in ("patches", "nuclei")},
            }
        )
    tables = {KINDS[Path(path).stem]: pd.read_csv(path, sep="\t") for path in source.tables}
    rows = {kind: table[table["model"] == params.row] for kind, table in tables.items()}
    write_card(source.checkpoint, snakemake.output.card, name=model, sets=sets, tables=rows)
