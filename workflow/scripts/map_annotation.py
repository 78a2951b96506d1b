"""Write a sample's manual annotation as a label table: the truth that classes are scored against."""

from typing import TYPE_CHECKING

from stnuclei.files import atomic_write
from stnuclei.io import annotation_table, open_sample, read_annotation
from stnuclei.joblog import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

row, taxonomy = snakemake.params.sample, snakemake.params.taxonomy
with job(snakemake.log[0], f"annotation of {row['sample']}"):
    annotation = read_annotation(row["annotation"], row["annotation_map"] or None, taxonomy, sample=row["sample"])
    cells = open_sample(snakemake.input.store).table.obs["cell_id"]
    table = annotation_table(annotation, cells, taxonomy)
    print(f"{(table['confidence'] > 0).sum():,} of {len(table):,} cells are annotated")
    with atomic_write(snakemake.output[0]) as temporary:
        table.to_parquet(temporary, index=False)
