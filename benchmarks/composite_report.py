"""Tables and pictures of composite_experiment.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stnuclei.evaluation import by_class, figure_predictions
from stnuclei.evaluation.figures import ShownPatches
from stnuclei.evaluation.tables import readable

CURVES = {
    "val_detection_f1": "detection F1",
    "val_bpq": "bPQ",
    "val_dice": "Dice",
    "val_macro_f1": "macro F1",
    "val_f1_Neoplastic": "F1 epithelial",
    "val_f1_Inflammatory": "F1 inflammatory",
    "val_f1_Connective": "F1 connective",
    "val_loss": "loss",
}
CAUTION = """What it is not: a verdict. The network is small (`cellvit-light`), starts from nothing and stops early: a
longer run would go on learning. Six tiles are scored. The two models differ in more than their labels: `st` has seen
twelve tiles in patches that overlap by half, `manual` nine in patches that do not. And the counts of the composites are
drawn cell by cell from a class, so labels come easier than on a real slide (see their README)."""
_LINES = {"st": "#0072B2", "manual": "#D55E00", "truth": "#009E73"}


def write_report(
    tables: Mapping[str, pd.DataFrame],
    histories: Mapping[str, pd.DataFrame],
    classes: pd.DataFrame,
    learnt: Mapping[str, Any],
    about: str,
    options: argparse.Namespace,
) -> str:
    """The whole page as markdown."""
    command = " ".join(["python benchmarks/composite_experiment.py", *_public(sys.argv[1:])])
    words = about.strip().split("\n\n")
    parts = ["# Labels from expression against labels by hand", f"`{command}`", words[0], *words[2:]]
    parts += [_facts(learnt, histories, options), CAUTION]
    for title, table in tables.items():
        parts += [f"## {title}", readable(_shown(table)).to_markdown(index=False)]
    parts.append(
        "In round brackets 95 % bootstrap intervals (by sample, of which there are two), in square brackets the "
        "paper's figure: another data set and a far larger network. "
        "`official` counts as the published code does."
    )
    parts += ["## Classes, as HoVer-Net and CellViT count them (official)", _by_class(classes)]
    parts += ["## By epoch, on the held-out tiles", "The last epoch is the model; none was chosen by these scores."]
    parts += [f"{_by_epoch(name, history)}" for name, history in histories.items()]
    parts += ["![curves](composite_experiment.png)"]
    return "\n\n".join(parts) + "\n"


def _public(arguments: list[str]) -> list[str]:
    """The command as anyone would type it: without the folders of this machine."""
    kept, skip = [], False
    for argument in arguments:
        hidden = argument in ("--folder", "--shared")
        if not (hidden or skip):
            kept.append(argument)
        skip = hidden
    return kept


def _facts(
    learnt: Mapping[str, Any],
    histories: Mapping[str, pd.DataFrame],
    options: argparse.Namespace,
) -> str:
    lines = []
    for name, one in learnt.items():
        seen = options.epochs * options.samples_per_epoch
        minutes = histories[name]["seconds"].sum() / 60
        line = f"- `{name}`: {len(one.tiles)} tiles, {seen:,} patches shown in {minutes:.0f} min on one thread of a "
        line += f"machine shared with other work ({histories[name]['patches_per_s'].median():.1f} patches/s)"
        if one.right < 1:
            line += f"; {100 * one.right:.1f} % of the cells with a known class carry the right label"
        lines.append(line)
    return "\n".join(lines)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Without columns that say nothing here."""
    return table.drop(columns=[c for c in table if c.startswith("paper_") or table[c].isna().all()])


def _by_class(classes: pd.DataFrame) -> str:
    official = classes[classes["policy"] == "official"]
    rows = [by_class(part).assign(model=model) for model, part in official.groupby("model", sort=False)]
    table = pd.concat(rows)
    table = table[table["true"] > 0]
    return table[["model", *(c for c in table if c != "model")]].round(4).to_markdown(index=False)


def _by_epoch(name: str, history: pd.DataFrame) -> str:
    columns = [c for c in ("train_loss", *CURVES) if c in history]
    names = {"train_loss": f"{name}: loss, learnt from", **CURVES, "val_loss": "loss, held out"}
    table = history[["epoch", *columns]].rename(columns=names).round(3).fillna("")
    return table.to_markdown(index=False)


def curves(path: Path, histories: Mapping[str, pd.DataFrame]) -> None:
    """Scores on the held-out tiles by epoch, a line a model."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, (column, words) in zip(figure.subplots(2, 4).flat, CURVES.items(), strict=True):
        for name, history in histories.items():
            if column in history:
                axes.plot(history["epoch"], history[column], color=_LINES[name], marker="o", markersize=3, label=name)
        axes.set_title(words, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        if column != "val_loss":
            axes.set_ylim(0, 1)
    figure.axes[0].legend(fontsize=9, frameon=False)
    figure.supxlabel("epoch", fontsize=10)
    figure.savefig(path, dpi=110)


def pictures(path: Path, unseen: Mapping[str, Any], predictions: Mapping[str, Mapping[str, Path]]) -> None:
    """Three held-out patches: H&E, truth, each model."""
    sample = next(iter(unseen))
    figure_predictions(
        path, unseen[sample].patches, predictions[sample], unseen[sample].labels, shown=ShownPatches(seed=2)
    )
