"""Counts over nuclei: what overlaps a nucleus is counted, in simulated, real and HEST-1k transcripts."""

import anndata
import hest_bundle
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from paths import DATA
from stnuclei.errors import UserError
from stnuclei.io import read_sample
from stnuclei.io.nuclear_counts import with_nuclear_counts
from stnuclei.simulate import simulate_sample


@pytest.fixture(scope="module", params=["xoa1", "xoa3"])
def slide(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nuclear") / request.param
    simulate_sample(folder, "Breast", 3, layout=request.param, size_um=(120.0, 120.0))
    return folder


def _expected(path, cells, genes):
    """Counts over nuclei by pandas, cells x genes."""
    seen = pd.read_parquet(path)
    text = seen.map(lambda value: value.decode() if isinstance(value, bytes) else value)
    text = text[(text.qv >= 20) & (text.overlaps_nucleus == 1)]
    table = pd.crosstab(text.cell_id.astype(str), text.feature_name)
    return table.reindex(index=list(cells), columns=list(genes)).fillna(0).to_numpy()


def test_simulated_xenium(slide):
    whole = read_sample("xenium", slide, checksums=False)
    nuclear = read_sample("xenium", slide, checksums=False, count_in="nuclei")
    table = nuclear.table
    assert list(table.obs_names) == list(whole.table.obs_names) and list(table.var_names) == list(whole.table.var_names)
    assert table.X.dtype == np.int32
    expected = _expected(slide / "transcripts.parquet", table.obs_names, table.var_names)
    np.testing.assert_array_equal(table.X.toarray(), expected)
    assert (table.X.toarray() <= whole.table.X.toarray()).all() and 0 < table.X.sum() < whole.table.X.sum()
    assert nuclear.provenance["transcripts"]["kept"] == table.X.sum()
    assert whole.provenance["transcripts"] == {"count_in": "cells"}


@pytest.mark.parametrize("name", ["multiqc_sample1", "multiqc_sample2"])
def test_real_transcripts(name):
    folder = DATA / "xenium_tables" / name
    seen = pd.read_parquet(folder / "transcripts.parquet")
    text = seen.map(lambda value: value.decode() if isinstance(value, bytes) else value)
    cells, genes = sorted(set(text.cell_id.astype(str))), sorted(set(text.feature_name))
    genes = [gene for gene in genes if not gene.startswith(("Neg", "BLANK", "Unassigned", "Deprecated", "Intergenic"))]
    empty = sparse.csr_matrix((len(cells), len(genes)), dtype=np.int32)
    table = anndata.AnnData(empty, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=genes))
    counted, info = with_nuclear_counts(table, folder)
    expected = _expected(folder / "transcripts.parquet", cells, genes)
    if "is_gene" in text:
        controls = set(text.feature_name[~text.is_gene.astype(bool)])
        expected[:, [gene in controls for gene in genes]] = 0
    np.testing.assert_array_equal(counted.X.toarray(), expected)
    assert info["read"] == len(seen) and table.X.nnz == 0  # the table given stays as it is


def test_hest(tmp_path):
    folder = hest_bundle.make_hest(tmp_path, "TENX1")
    path = folder / "transcripts" / "TENX1_transcripts.parquet"
    whole = read_sample("hest", folder, checksums=False).table
    with pytest.raises(UserError, match="has no column overlaps_nucleus"):
        read_sample("hest", folder, checksums=False, count_in="nuclei")
    transcripts = pq.read_table(path)
    inside = np.arange(transcripts.num_rows) % 3 == 0
    pq.write_table(transcripts.append_column("overlaps_nucleus", pa.array(inside)), path)
    sample = read_sample("hest", folder, checksums=False, count_in="nuclei")
    counted = sample.provenance["transcripts"]
    assert counted["outside_nuclei"] + counted["kept"] == whole.X.sum() and counted["kept"] == sample.table.X.sum()
    assert 0.2 < counted["kept"] / whole.X.sum() < 0.5


def test_missing_transcripts_and_other_platforms_are_refused(slide, tmp_path):
    empty = anndata.AnnData(sparse.csr_matrix((1, 1), dtype=np.int32))
    with pytest.raises(UserError, match=r"counts over nuclei need it"):
        with_nuclear_counts(empty, tmp_path)
    with pytest.raises(UserError, match="lies over the nucleus of a cell of the table"):
        with_nuclear_counts(empty, slide)
    with pytest.raises(UserError, match="option count_in belongs to platform xenium, hest"):
        read_sample("cosmx", slide, count_in="nuclei")
