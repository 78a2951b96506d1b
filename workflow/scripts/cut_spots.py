"""Cut a patch round each spot of a HEST-1k sample, and write its counts beside."""

from stnuclei.expression import cut_spots, patch_table, read_spots, spot_counts, write_table
from stnuclei.joblog import job
from stnuclei.patches import PatchStore

params, output = snakemake.params, snakemake.output
with job(snakemake.log[0], f"spots {snakemake.wildcards.spots}"):
    spots = read_spots(params.entry["path"], params.entry["id"], snakemake.wildcards.spots)
    cut_spots(spots, output.patches, tissue=params.entry["tissue"], **params.patches)
    counted, store = spot_counts(spots), PatchStore(output.patches)
    table = patch_table(store, counted, spots.genes, donor=params.donor, seed=params.seed, **params.settings)
    write_table(table, output.expression)
    print(f"{len(store):,} spots x {table.n_vars:,} genes and controls: {counted.info}")
