"""Training of a cell classifier: tokens and labels in; classifier, history and figures out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stnuclei import __version__
from stnuclei.cellvit.classifier import CellClassifier, save_classifier
from stnuclei.classifiers.examples import Examples, TokenSource, read_examples, token_identity
from stnuclei.classifiers.extract import cpu_seconds
from stnuclei.classifiers.fit import FittedHead, fit
from stnuclei.classifiers.token_store import TokenStore
from stnuclei.config.classifiers import ClassifierSettings
from stnuclei.drawing.charts import draw_confusion
from stnuclei.drawing.figure import figure_file, open_frame, stacked
from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.taxonomy import Taxonomy


def train_classifier(
    sources: Sequence[TokenSource],
    out: str | Path,
    taxonomy: str | Path | Taxonomy = "pannuke",
    *,
    validation: Sequence[TokenSource] = (),
    settings: ClassifierSettings | None = None,
    provenance: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Train a classifier and write it with its history and figures.

    Parameters
    ----------
    sources
        Tokens and labels that it learns from.
    out
        Folder to write: ``classifier.pt``, ``history.csv``, ``curves.png``, ``confusion.png``, ``cost.tsv``.
    taxonomy
        Of the labels.
    validation
        Tokens and labels by which training stops; none: a fraction of the patches of `sources` is held out.
    settings
        Of the head and its training.
    provenance
        Further facts for the file: names of sets and labels.
    threads
        For the arithmetic.

    Returns
    -------
    nuclei, validation_nuclei, epochs, best, seconds, cpu_seconds, and the scores of the best epoch.

    Raises
    ------
    UserError
        If tokens and labels do not go together, or there is too little to learn from.
    """
    settings, classes = settings or ClassifierSettings(), Taxonomy.load(taxonomy)
    started, cpu, out = time.monotonic(), cpu_seconds(), Path(out)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        train, held_out = split_examples(sources, validation, classes, settings)
        absent = absent_classes(train, classes)
        if absent:
            print(f"classifier: no nucleus to learn from is {', '.join(absent)}: it will not give them", flush=True)
        fitted = fit(train, held_out, classes, settings)
    finally:
        torch.set_num_threads(before)
    result = {
        "nuclei": len(train),
        "validation_nuclei": len(held_out),
        "epochs": len(fitted.history),
        "best": fitted.best,
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(cpu_seconds() - cpu, 2),
        **{key: value for key, value in fitted.history[fitted.best - 1].items() if key != "epoch"},
    }
    stores = [TokenStore(source.tokens) for source in (*sources, *validation)]
    facts = {**(provenance or {}), "absent": absent, "result": result}
    _write(out, fitted, classes, stores, settings, facts)
    return result


def split_examples(
    sources: Sequence[TokenSource],
    validation: Sequence[TokenSource],
    taxonomy: Taxonomy,
    settings: ClassifierSettings,
) -> tuple[Examples, Examples]:
    """Examples to learn from and to stop by: from other sources, or from other patches of the same.

    Raises
    ------
    UserError
        If nothing is left on one side.
    """
    examples = read_examples(sources, taxonomy, settings.label_weight)
    if validation:
        token_identity([TokenStore(source.tokens) for source in (*sources, *validation)])
        return examples, read_examples(validation, taxonomy, settings.label_weight)
    patches = np.unique(examples.patch)
    count = max(1, round(len(patches) * settings.validation_fraction))
    if len(patches) <= count:
        raise UserError(
            f"classifier: labelled nuclei lie in {len(patches)} patches, too few to hold some out; name a "
            "validation set"
        )
    chosen = np.random.default_rng(settings.seed).choice(patches, count, replace=False)
    held_out = np.isin(examples.patch, chosen)
    return examples.take(~held_out), examples.take(held_out)


def absent_classes(examples: Examples, taxonomy: Taxonomy) -> list[str]:
    """Classes that no example has as its label or among its alternatives."""
    allowed = int(np.bitwise_or.reduce(examples.allowed))
    return [name for bit, name in enumerate(taxonomy.names) if not allowed >> bit & 1]


def _write(
    out: Path,
    fitted: FittedHead,
    taxonomy: Taxonomy,
    stores: Sequence[TokenStore],
    settings: ClassifierSettings,
    facts: Mapping[str, Any],
) -> None:
    identity = token_identity(stores)
    costs = [_cost(store) for store in stores]
    classifier = CellClassifier(
        fitted.head,
        taxonomy.names,
        taxonomy.to_dict(),
        identity["tokens"],
        {f"head.{key}": value for key, value in settings.to_dict().items()} | {"model.dropout": settings.dropout},
        {**identity, "version": __version__, "costs": costs, "confusion": fitted.confusion.tolist(), **facts},
        fitted.best,
    )
    history = pd.DataFrame(fitted.history).astype({"epoch": int})
    with atomic_write(out / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    with atomic_write(out / "cost.tsv") as temporary:
        cost_table(costs, facts["result"]).to_csv(temporary, sep="\t", index=False)
    draw_curves(out / "curves.png", history, fitted.best)
    draw_validation_confusion(out / "confusion.png", fitted.confusion, taxonomy)
    save_classifier(out / "classifier.pt", classifier)  # last: where it is, the others are


def _cost(store: TokenStore) -> dict[str, Any]:
    return {"set": store.sample, "nuclei": len(store), **store.attrs["cost"]}


def cost_table(tokens: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> pd.DataFrame:
    """Cost of a classifier: a row for the tokens of each set, and one for the head."""
    rows = [{"step": "tokens", **row} for row in tokens]
    head = {key: result[key] for key in ("nuclei", "seconds", "cpu_seconds")}
    rows.append({"step": "head", "set": "all", **head, "device": "cpu"})
    columns = ["step", "set", "patches", "nuclei", "seconds", "cpu_seconds", "device"]
    return pd.DataFrame(rows, columns=columns).astype({"patches": "Int64"})


def draw_curves(path: str | Path, history: pd.DataFrame, best: int) -> None:
    """Draw losses and validation scores by epoch; a line marks the epoch whose weights are kept."""
    with figure_file(path, 5.0, 4.6) as figure:
        above, below = (part.subplots() for part in stacked(figure, (1, 1)))
        for name, color, words in (("train_loss", "#999999", "training"), ("val_loss", "#0072B2", "validation")):
            above.plot(history["epoch"], history[name], color=color, label=words)
        for name, color, words in (("val_macro_f1", "#D55E00", "macro F1"), ("val_accuracy", "#009E73", "accuracy")):
            below.plot(history["epoch"], history[name], color=color, label=words)
        for axes, title in ((above, "loss"), (below, "validation scores")):
            axes.axvline(best, color="#cccccc", linewidth=1, zorder=0)
            axes.set_title(title, loc="left", fontsize=9)
            axes.legend(frameon=False, fontsize=8)
            open_frame(axes)
        below.set_xlabel("epoch")


def draw_validation_confusion(path: str | Path, confusion: np.ndarray, taxonomy: Taxonomy) -> None:
    """Draw the confusion matrix (K, K) of the validation nuclei."""
    side = 2.2 + 0.55 * len(taxonomy.names)
    with figure_file(path, side, side) as figure:
        counts = pd.DataFrame(confusion, list(taxonomy.names), list(taxonomy.names))
        draw_confusion(figure.subplots(), counts, rows="label", columns="classifier")
