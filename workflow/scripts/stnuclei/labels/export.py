"""Labels for other programs: Xenium Explorer, and a published copy of the SpatialData store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.io.open_image import FORMAT
from stnuclei.io.store import check_content, note_content
from stnuclei.taxonomy import Taxonomy


def write_explorer_groups(cells: pd.DataFrame, path: str | Path) -> None:
    """Write labels as Xenium Explorer reads cell groups: csv with ``cell_id,group``.

    Parameters
    ----------
    cells
        `Labels.cells`.
    path
        The csv.
    """
    with atomic_write(path) as temporary:
        groups = cells[["cell_id", "label"]].rename(columns={"label": "group"})
        groups.to_csv(temporary, index=False, lineterminator="\n")


def _read_metadata(store: Path) -> dict[str, Any]:
    """Metadata of the store's root; a store that is no sample's has no attributes of ours."""
    try:
        return dict(json.loads((store / "zarr.json").read_text()))
    except FileNotFoundError:
        raise UserError(f"{store}: no such SpatialData store") from None
    except (OSError, ValueError) as error:
        raise FORMAT.damaged(store, f"zarr.json: {error}") from None


def _refuse_links(store: Path) -> None:
    """Refuse a store with links to files outside it: what they point to would be published with it."""
    inside = store.resolve()
    for path in store.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise UserError(f"{store}: {path.relative_to(store)} is a link out of the store; it is not published")


def publish_labels(
    store: str | Path,
    labels: Mapping[str, pd.DataFrame],
    out: str | Path,
    *,
    taxonomy: str | Path | Taxonomy = "pannuke",
) -> None:
    """Write a copy of a sample's SpatialData store whose table carries the labels.

    The store of the workflow stays as it is: it is written once. The copy's ``tables/table`` gains
    ``obs["label_<method>"]`` (categorical, colours in ``uns["label_<method>_colors"]`` as scanpy and squidpy look for
    them) and ``obs["confidence_<method>"]`` and ``obs["alternatives_<method>"]``; images and shapes are the same bytes.

    Parameters
    ----------
    store
        sample.zarr.
    labels
        Method -> cells (`Labels.cells`).
    out
        The copy; an existing one is replaced.
    taxonomy
        Order and colours.

    Raises
    ------
    UserError
        If there is no such store, it is damaged, or a label set lacks cells of the table.
    """
    import spatialdata

    taxonomy, store = Taxonomy.load(taxonomy), Path(store)
    metadata = _read_metadata(store)
    ours = metadata.get("attributes", {}).get("stnuclei", {})
    check_content(store, ours)
    _refuse_links(store)
    image = ours.get("image", {})
    if "path" in image:
        image["path"] = Path(image["path"]).name  # of a slide outside the store the file's name alone
    with atomic_write(out) as copy:
        shutil.copytree(store, copy)
        (copy / "zarr.json").write_text(json.dumps(metadata, indent=2))
        try:
            data = spatialdata.read_zarr(copy)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise FORMAT.damaged(store, error) from error
        table = data.tables["table"]
        ids = (table.obs["cell_id"] if "cell_id" in table.obs else table.obs_names.to_series()).astype(str)
        for method, cells in labels.items():
            ordered = cells.set_index(cells["cell_id"].astype(str)).reindex(ids.to_numpy())
            missing = int(ordered["label"].isna().sum())
            if missing:
                raise UserError(f"labels of {method} lack {missing:,} cells of {store}")
            names = [name for name in taxonomy.labels if name in set(ordered["label"])]
            table.obs[f"label_{method}"] = pd.Categorical(ordered["label"].to_numpy(), categories=names)
            table.obs[f"confidence_{method}"] = ordered["confidence"].to_numpy()
            table.obs[f"alternatives_{method}"] = ordered.get("alternatives", pd.Series("", ordered.index)).to_numpy()
            table.uns[f"label_{method}_colors"] = [taxonomy.color_of(name) for name in names]
        data.delete_element_from_disk("table")
        data.write_element("table")
        note_content(copy)
        data.write_consolidated_metadata()
