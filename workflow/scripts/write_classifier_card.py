"""Write the card of a cell classifier: its data, recipe, cost, scores, terms and limits."""

from pathlib import Path

import pandas as pd

from stnuclei.joblog import job
from stnuclei.reporting import write_classifier_card

KINDS = {"table2": "segmentation", "table3": "classification"}
source, name = snakemake.input, snakemake.wildcards.classifier
with job(snakemake.log[0], f"card of {name}"):
    tables = {KINDS[Path(path).stem]: pd.read_csv(path, sep="\t") for path in source.tables}
    rows = {key: table[table["model"] == name] for key, table in tables.items()}
    write_classifier_card(source.classifier, snakemake.output.card, name=name, tables=rows)
