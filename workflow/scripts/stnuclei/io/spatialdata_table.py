"""Table of a SpatialData store: raw counts of genes, cell ids, and which nucleus belongs to which cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from stnuclei.errors import UserError
from stnuclei.io.features import CONTROL, GENE, classify

#: Layers that hold raw counts where X is normalised, as scanpy's users name them.
_COUNT_LAYERS = ("counts", "raw_counts", "raw")
_TYPE_COLUMNS = ("feature_types", "feature_type")


@dataclass(frozen=True)
class Annotation:
    """Elements that a table annotates.

    Attributes
    ----------
    regions
        Elements.
    region
        (n_cells,) the element of each row.
    instance
        (n_cells,) index value or label of each row in its element.
    """

    regions: tuple[str, ...]
    region: np.ndarray
    instance: np.ndarray


def annotation_of(table: AnnData) -> Annotation | None:
    """Annotation of a table by spatialdata's rules; None where it annotates nothing."""
    attributes = table.uns.get("spatialdata_attrs")
    if not attributes or attributes.get("instance_key") not in table.obs:
        return None
    regions = attributes["region"]
    regions = (regions,) if isinstance(regions, str) else tuple(regions)
    column = table.obs.get(attributes.get("region_key"))
    region = np.full(table.n_obs, regions[0], object) if column is None else column.astype(str).to_numpy()
    return Annotation(regions, region, table.obs[attributes["instance_key"]].to_numpy())


def clean_table(store: str, table: AnnData, warnings: list[str]) -> AnnData:
    """Make the table a sample's: genes alone, raw counts, index and column of cell ids.

    Parameters
    ----------
    store
        Named in messages.
    table
        As stored.
    warnings
        Grows by what is odd but no error.

    Returns
    -------
    Cells x genes, int32 CSR; ``obs`` as stored but for the annotation's columns, with ``cell_id`` and the counts of
    control features (``control_counts``); ``obsm["spatial"]`` as stored.

    Raises
    ------
    UserError
        If there are no raw counts, no gene, or cell ids occur twice.
    """
    ids = cell_ids(store, table)
    counts = _raw_counts(store, table)
    names = table.var_names.astype(str).to_numpy()
    column = next((name for name in _TYPE_COLUMNS if name in table.var), None)
    types = table.var[column].astype(str).to_numpy() if column else np.full(len(names), "Gene Expression", object)
    kinds = classify(types, names)
    if not (kinds == GENE).any():
        raise UserError(
            f"{store}: none of the table's {len(names):,} features is a gene (types: {', '.join(set(types))})"
        )
    var = pd.DataFrame(index=pd.Index(names[kinds == GENE], dtype=object))
    if "gene_ids" in table.var:
        var["gene_ids"] = table.var["gene_ids"].astype(str).to_numpy()[kinds == GENE]
    obs = table.obs.drop(columns=[*_annotation_columns(table), "cell_id"], errors="ignore").set_axis(ids)
    obs.insert(0, "cell_id", ids.to_numpy())
    out = AnnData(counts[:, kinds == GENE], obs=obs, var=var)
    if not out.var_names.is_unique:
        warnings.append(f"{int(out.var_names.duplicated().sum())} genes share a name; -1, -2 ... was put behind it")
        out.var_names_make_unique()
    controls = np.asarray(counts[:, kinds == CONTROL].sum(axis=1)).ravel()
    if "blank" in table.obsm:  # where spatialdata_io.merscope puts the blank barcodes
        controls = controls + np.asarray(table.obsm["blank"]).sum(axis=1)
    out.obs["control_counts"] = controls.astype(np.int32)
    if "spatial" in table.obsm:
        out.obsm["spatial"] = np.asarray(table.obsm["spatial"], np.float64)[:, :2]
    return out


def cell_ids(store: str, table: AnnData) -> pd.Index:
    """Ids of the cells (n,) str: column ``cell_id`` where it names each once, else the table's index.

    Raises
    ------
    UserError
        If neither names each cell once.
    """
    if "cell_id" in table.obs:
        ids = _as_text(table.obs["cell_id"])
        if not ids.has_duplicates:
            return ids
    ids = _as_text(table.obs_names)
    if ids.has_duplicates:
        raise UserError(
            f"{store}: cell {ids[ids.duplicated()][0]} is in the table twice; make the table's index unique"
        )
    return ids


def owners(store: str, nuclei: Mapping[str, gpd.GeoDataFrame], table: AnnData) -> np.ndarray:
    """Cell id of each nucleus (n,) str or None, element after element.

    In this order: the nuclei's column ``cell_id``, the table's annotation of them, the nuclei's index.

    Parameters
    ----------
    store
        For messages.
    nuclei
        Element -> nuclei as stored.
    table
        As stored.

    Raises
    ------
    UserError
        If none of the three names a cell of the table.
    """
    ids, annotation = cell_ids(store, table), annotation_of(table)
    out = [_owners(name, frame, ids, annotation) for name, frame in nuclei.items()]
    if all(pd.isna(cells).all() for cells in out):
        name, frame = next(iter(nuclei.items()))
        annotated = f"annotates {', '.join(annotation.regions[:4])}" if annotation else "annotates no element"
        raise UserError(
            f"{store}: no telling which cell a nucleus belongs to: the table {annotated}, and the nuclei of {name} "
            f"({_as_text(frame.index)[0]}, ...) are not called like its cells ({ids[0]}, ...); give {name} a column "
            "cell_id"
        )
    return np.concatenate(out)


def _owners(name: str, nuclei: gpd.GeoDataFrame, ids: pd.Index, annotation: Annotation | None) -> np.ndarray:
    index = _as_text(nuclei.index)
    candidates: list[pd.Index] = [_as_text(nuclei["cell_id"])] if "cell_id" in nuclei else []
    if annotation is not None and name in annotation.regions:
        rows = annotation.region == name
        cell_of = pd.Series(ids[rows], index=_as_text(pd.Index(annotation.instance[rows])))
        candidates.append(pd.Index(cell_of[~cell_of.index.duplicated()].reindex(index), dtype=object))
    for candidate in [*candidates, index]:
        known = candidate.isin(ids)
        if known.any():
            return np.where(known, candidate.to_numpy(), np.array(None, dtype=object))
    return np.full(len(nuclei), None, object)


def _annotation_columns(table: AnnData) -> list[str]:
    attributes = table.uns.get("spatialdata_attrs") or {}
    return [attributes[key] for key in ("region_key", "instance_key") if attributes.get(key)]


def _as_text(values: pd.Series | pd.Index) -> pd.Index:
    """Ids as text: numbers without a decimal point (pandas makes whole numbers with gaps floats), bytes decoded."""
    array = values.to_numpy()
    if array.dtype.kind == "f" and np.isfinite(array).all() and (np.mod(array, 1) == 0).all():
        array = array.astype(np.int64)
    return pd.Index([v.decode() if isinstance(v, bytes) else str(v) for v in array], dtype=object)


def _raw_counts(store: str, table: AnnData) -> sp.csr_matrix:
    candidates = {"X": table.X, **{name: table.layers[name] for name in _COUNT_LAYERS if name in table.layers}}
    for matrix in candidates.values():
        if matrix is not None and _whole(matrix):
            counts = sp.csr_matrix(matrix, dtype=np.int32)
            counts.eliminate_zeros()
            if not counts.nnz:
                raise UserError(f"{store}: not one transcript is counted in the table; is it complete?")
            return counts
    raise UserError(
        f"{store}: the table holds no raw counts ({', '.join(candidates)}: fractions or negative numbers); write it "
        f"with whole counts in X or in a layer called {_COUNT_LAYERS[0]}"
    )


def _whole(matrix: np.ndarray | sp.spmatrix) -> bool:
    data = np.asarray(matrix.data if sp.issparse(matrix) else matrix)
    return bool(np.isfinite(data).all() and (data >= 0).all() and (np.mod(data, 1) == 0).all())
