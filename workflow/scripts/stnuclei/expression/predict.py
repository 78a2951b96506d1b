"""Predicted expression of held-out patches, beside the measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from stnuclei.cellvit.device import choose_device, choose_precision
from stnuclei.cellvit.tensors import channels_last, load_strictly, read_tensors
from stnuclei.config.expression import ExpressionSettings
from stnuclei.errors import UserError
from stnuclei.expression.data import PatchData, PatchSource
from stnuclei.expression.networks import build_network
from stnuclei.expression.run import FORMAT
from stnuclei.expression.transforms import InputTransform
from stnuclei.loading.batches import Batch, on_device
from stnuclei.progress import progress


def load_model(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Network with its weights, in evaluation mode, and the rest of the checkpoint.

    Raises
    ------
    UserError
        If it is no checkpoint of the baseline.
    """
    content = read_tensors(path, "expression checkpoint")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: is no checkpoint of the expression baseline; give one of train_expression")
    network = build_network(content["network"], len(content["genes"]))
    load_strictly(network, content["model_state_dict"], f"expression checkpoint {path}")
    return network.eval(), {key: value for key, value in content.items() if key != "model_state_dict"}


def predict_expression(
    checkpoint: str | Path,
    sources: Sequence[PatchSource],
    split: pd.DataFrame,
    cross: Sequence[PatchSource] = (),
    *,
    threads: int = 4,
    device: str = "auto",
) -> AnnData:
    """Predict the tested patches, and all patches of samples of other tissues.

    Parameters
    ----------
    checkpoint
        Of `train_expression`.
    sources
        The slides it was trained and tested on, in any order.
    split
        ``split.tsv`` of the run: sample, patch, split.
    cross
        Slides of other tissues than the training's.
    threads
        Threads that read patches.
    device
        ``auto``, ``cuda`` or ``cpu``.

    Returns
    -------
    Patches x genes: ``X`` predicted, ``layers["measured"]`` (NaN for genes a slide's panel lacks), both log(1 + x);
    ``obs`` sample, donor, tissue, patch, split (``test`` or ``cross_tissue``); ``obsm["spatial"]`` um;
    ``uns["model"]``.
    """
    network, content = load_model(checkpoint)
    settings = ExpressionSettings.from_dict(content["config"]).replace(workers=max(1, threads), device=device)
    tested = {tuple(key) for key in split.loc[split["split"] == "test", ["sample", "patch"]].itertuples(index=False)}
    tables = []
    for split_name, slides in (("test", sources), ("cross_tissue", cross)):
        for source in slides:
            data = PatchData.open([source])
            usable = data.rows["total_counts"] >= settings.min_counts
            if split_name == "test":
                keys = zip(data.rows["sample"], data.rows["patch"], strict=True)
                usable &= np.array([key in tested for key in keys])
            numbers = np.flatnonzero(usable)
            if len(numbers):
                tables.append(_table(network, data, numbers, content["genes"], settings, split_name))
    if not tables:
        raise UserError(f"{checkpoint}: none of its tested patches is in the slides given; train the model again")
    model = {key: content[key] for key in ("network", "genes", "tissues", "donors", "parameters", "epoch")}
    model |= {name: np.array(values, float) for name, values in content["facts"].items()}
    return _joined(tables, content["genes"], {**model, "train_patches": content["provenance"]["train_patches"]})


def _joined(tables: list[AnnData], genes: list[str], model: dict[str, Any]) -> AnnData:
    obs = pd.concat([table.obs for table in tables])
    out = AnnData(np.concatenate([table.X for table in tables]), obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
    out.layers["measured"] = np.concatenate([table.layers["measured"] for table in tables])
    out.obsm["spatial"] = np.concatenate([table.obsm["spatial"] for table in tables])
    out.uns["model"] = {key: np.array(value) if isinstance(value, list) else value for key, value in model.items()}
    return out


def _table(
    network: nn.Module, data: PatchData, numbers: np.ndarray, genes: list[str], settings: ExpressionSettings, split: str
) -> AnnData:
    rows = data.rows.iloc[numbers]
    obs = rows[["sample", "donor", "tissue", "patch", "patch_um"]].assign(split=split)
    obs.index = [f"{sample}:{patch}" for sample, patch in zip(rows["sample"], rows["patch"], strict=True)]
    table = AnnData(_predicted(network, data, numbers, settings), obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
    column = pd.Index(data.genes).get_indexer(genes)
    measured = np.full(table.shape, np.nan, np.float32)
    measured[:, column >= 0] = data.values[numbers][:, column[column >= 0]].toarray()
    table.layers["measured"], table.obsm["spatial"] = measured, rows[["x", "y"]].to_numpy()
    return table


def predict(
    network: nn.Module, transform: InputTransform, batches: Iterable[Batch], precision: torch.dtype
) -> np.ndarray:
    """Prediction of a network as it stands for batches on its device, float32 (n, genes)."""
    network.eval()
    rows = []
    with torch.inference_mode():
        for batch in batches:
            with torch.autocast(batch["image"].device.type, precision, enabled=precision != torch.float32):
                rows.append(network(transform(batch["image"])).float().cpu().numpy())
    return np.concatenate(rows)


def _predicted(network: nn.Module, data: PatchData, numbers: np.ndarray, settings: ExpressionSettings) -> np.ndarray:
    device = choose_device(settings.device, "expression.device")
    loader = data.loader(numbers, 2 * settings.batch_size, settings.readers)
    batches = progress(on_device(loader, device), len(loader), str(data.rows["sample"].iloc[0]), "batches")
    precision, transform = choose_precision(settings.precision, device), InputTransform(settings)
    return predict(channels_last(network.to(device)), transform, batches, precision)
