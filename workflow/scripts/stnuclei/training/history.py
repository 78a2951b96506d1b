"""Training logs: history.csv, TensorBoard files, learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stnuclei.disk import disk_full_explained
from stnuclei.drawing.figure import figure_file, open_frame
from stnuclei.files import atomic_write
from stnuclei.metrics import FEW_PAIRS

Row = dict[str, float]

_SAVED = "last.pt holds the run's state"
_PANELS = {
    "Loss (weighted sum)": ("train_loss", "val_loss"),
    "Nuclei against background": ("train_np_focaltversky", "train_np_dice"),
    "Horizontal and vertical maps": ("train_hv_mse", "train_hv_msge"),
    "Nucleus classes": ("train_nt_bce", "train_nt_dice", "train_nt_mcfocaltversky"),
    "Validation: nuclei": ("val_bpq", "val_detection_f1", "val_dice"),
    f"Validation: classes (F1 over {FEW_PAIRS} nuclei and more)": ("val_macro_f1", "val_f1_*"),
}
_LABELS = {
    "train_loss": "training",
    "val_loss": "validation",
    "train_np_focaltversky": "focal Tversky",
    "train_np_dice": "Dice",
    "train_hv_mse": "mean squared error",
    "train_hv_msge": "the same of gradients",
    "train_nt_bce": "cross-entropy",
    "train_nt_dice": "Dice",
    "train_nt_mcfocaltversky": "focal Tversky",
    "val_bpq": "bPQ",
    "val_detection_f1": "detection F1",
    "val_dice": "Dice",
    "val_macro_f1": "macro F1",
}


def write_csv(folder: Path, rows: list[Row]) -> None:
    """Write ``history.csv``, one row an epoch; columns are those of any row, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path = folder / "history.csv"
    with disk_full_explained(path, _SAVED), atomic_write(path) as aside:
        pd.DataFrame(rows, columns=columns).to_csv(aside, index=False, float_format="%.6g")


def draw(folder: Path, rows: list[Row], colors: dict[str, str], title: str) -> None:
    """Draw ``curves.png``: loss terms and validation scores by epoch.

    Parameters
    ----------
    folder
        Of the run.
    rows
        The history.
    colors
        Colour by column name, for the curves of single classes.
    title
        Above the figure.
    """
    table = pd.DataFrame(rows)
    path = folder / "curves.png"
    with disk_full_explained(path, _SAVED), figure_file(path, 13, 6.6, dpi=110) as figure:
        axes = figure.subplots(2, 3, sharex=True)
        for axis, (name, columns) in zip(axes.flat, _PANELS.items(), strict=True):
            _panel(axis, table, columns, colors)
            axis.set_title(name, fontsize=11, loc="left")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axis.grid(alpha=0.25, linewidth=0.6)
            open_frame(axis)
        for axis in axes[1]:
            axis.set_xlabel("epoch")
        for axis in axes[1, 1:]:
            axis.set_ylim(0, 1)
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")


def _panel(axis: Axes, table: pd.DataFrame, columns: tuple[str, ...], colors: dict[str, str]) -> None:
    names = [c for pattern in columns for c in table if c == pattern or (pattern[-1] == "*" and c[:7] == pattern[:7])]
    for name in names:
        values = table[["epoch", name]].dropna()
        if name.startswith(("val_macro_f1", "val_f1_")) and "val_pairs" in table:
            values = values[table.loc[values.index, "val_pairs"] >= FEW_PAIRS]
        label = _LABELS.get(name) or name.split("_", 1)[1].removeprefix("f1_").replace("_", " ")
        thick = 2.2 if name in ("val_macro_f1", "val_bpq", "train_loss") else 1.4
        color = colors.get(name) or ("0.2" if name == "val_macro_f1" else None)
        marker = "o" if len(values) < 30 else None
        axis.plot(values["epoch"], values[name], label=label, color=color, linewidth=thick, marker=marker, markersize=3)
    if names:
        axis.legend(fontsize=8, frameon=False)


class Board:
    """TensorBoard files, where the package is there and the settings ask for them.

    Parameters
    ----------
    folder
        Of the run; files go to ``tensorboard/``.
    wanted
        False: nothing is written.
    """

    def __init__(self, folder: Path, wanted: bool) -> None:
        self._writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # a convenience: history.csv holds the same numbers
                return
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def add(self, row: Row) -> None:
        """Write one epoch; train_ and val_ columns become two groups."""
        if self._writer is None:
            return
        for key, value in row.items():
            group, _, name = key.partition("_")
            tag = f"{group}/{name}" if group in ("train", "val") else f"run/{key}"
            self._writer.add_scalar(tag, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()
