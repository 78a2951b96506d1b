"""Write a sample's manual annotation as a label table: the truth that classes are scored against."""

from stnuclei.io import annotation_table, check_cells, open_sample, read_annotation
from stnuclei.joblog import job
from stnuclei.labels.result import with_info
from stnuclei.tables import write_table

row, taxonomy = snakemake.params.sample, snakemake.params.taxonomy
with job(snakemake.log[0], f"annotation of {row['sample']}"):
    annotation = read_annotation(row["annotation"], row["annotation_map"] or None, taxonomy, sample=row["sample"])
    cells = open_sample(snakemake.input.store).table.obs["cell_id"]
    warnings = check_cells(annotation, cells, f"sample {row['sample']}: annotation {row['annotation']}")
    for warning in warnings:
        print(f"warning: {warning}")
    table = annotation_table(annotation, cells, taxonomy)
    print(f"{(table['confidence'] > 0).sum():,} of {len(table):,} cells are annotated")
    write_table(with_info(table, {"warnings": warnings}), snakemake.output[0])
