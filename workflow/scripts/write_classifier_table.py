"""Write the table of classifiers: what each learned from, its validation scores, and what it cost."""

from stnuclei.cellvit import load_classifier
from stnuclei.classifiers import classifier_table
from stnuclei.evaluation import write_table
from stnuclei.joblog import job

with job(snakemake.log[0], "table of classifiers"):
    files = zip(snakemake.params.names, snakemake.input.classifiers, strict=True)
    table = classifier_table({name: load_classifier(path) for name, path in files})
    write_table(table, snakemake.output.tsv, snakemake.output.md, "Cell classifiers")
