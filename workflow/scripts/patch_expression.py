"""Sum a sample's counts by patch: of the cells that lie in it, or of its transcripts."""

from stnuclei.expression import count_cells, count_transcripts, patch_table, write_table
from stnuclei.io import open_sample
from stnuclei.joblog import job
from stnuclei.patches import PatchStore

params = snakemake.params
with job(snakemake.log[0], f"patch expression of {snakemake.wildcards.sample}"):
    sample, store = open_sample(snakemake.input.store), PatchStore(snakemake.input.patches)
    if params.transcripts:
        counted = count_transcripts(sample, store, params.transcripts, params.min_qv)
    else:
        counted = count_cells(sample, store)
    table = patch_table(store, counted, sample.table.var_names, donor=params.donor, seed=params.seed, **params.settings)
    write_table(table, snakemake.output.expression)
    print(f"{len(store):,} patches x {table.n_vars:,} genes and controls: {counted.info}")
