"""Signs in a training's history that it learned nothing, or too little to be scored."""

from __future__ import annotations

import pandas as pd

from stnuclei.metrics import FEW_PAIRS

#: Recall of detection below which a model is called blind. Trained models have 0.5 and more after one epoch.
LEAST_RECALL = 0.05


def learning_problems(history: pd.DataFrame) -> list[str]:
    """Sentences on what a training did not learn, by its last scored epoch.

    Parameters
    ----------
    history
        Rows of ``history.csv``.

    Returns
    -------
    One for each sign: hardly any nucleus found, one class only, too few matched nuclei for class scores, a loss that
    did not fall. Empty where there is none.
    """
    problems = _loss_problems(history)
    if "val_detection_recall" in history and len(scored := history.dropna(subset="val_detection_recall")):
        problems += _score_problems(scored.iloc[-1])
    return problems


def _loss_problems(history: pd.DataFrame) -> list[str]:
    loss = history["train_loss"].dropna() if "train_loss" in history else pd.Series(dtype=float)
    if len(loss) < 2 or loss.iloc[-1] < loss.iloc[0]:
        return []
    return [
        f"the training loss did not fall: {loss.iloc[0]:.3f} in the first epoch, {loss.iloc[-1]:.3f} in the last; try "
        "another learning rate, or more epochs"
    ]


def _score_problems(row: pd.Series) -> list[str]:
    recall, epoch = float(row["val_detection_recall"]), row["epoch"]
    if recall < LEAST_RECALL:
        return [
            f"it finds hardly any nucleus: detection recall {recall:.4f} on the validation set after epoch "
            f"{epoch:.0f}; train it longer or on more patches"
        ]
    pairs = row.get("val_pairs", float("nan"))
    if pairs < FEW_PAIRS:
        return [f"its class scores are over {pairs:.0f} matched nuclei only: they say nothing"]
    classes = row[[name for name in row.index if name.startswith("val_f1_")]].dropna().astype(float)
    right = classes[classes > 0].index.str.removeprefix("val_f1_").tolist()
    if len(classes) > 1 and len(right) < 2:
        return [f"it gives no class correctly{f' but {right[0]}' if right else ''} on the validation set"]
    return []
