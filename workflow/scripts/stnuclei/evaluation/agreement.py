"""Predicted classes against labels from gene expression, nucleus by nucleus, on a slide that has both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from stnuclei.errors import UserError
from stnuclei.evaluation.detection import pair_centroids
from stnuclei.evaluation.pair_overlaps import pair_overlaps
from stnuclei.files import atomic_write
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.io.sample import Sample
from stnuclei.metrics import cohen_kappa, f1_precision_recall, ratio
from stnuclei.tables import read_table, write_table
from stnuclei.taxonomy import Taxonomy

PAIRED, NOT_PREDICTED, NOT_IN_RUN = "paired", "not predicted", "not in the run"


@dataclass(frozen=True)
class Agreement:
    """Nuclei of a model and of a Xenium run, paired.

    Parameters
    ----------
    nuclei
        One row a nucleus of either side: ``status`` (paired, not predicted, not in the run), ``nucleus_id`` (of
        nuclei.parquet) and ``nucleus_index`` (row of the sample's nuclei), -1 where there is none, ``cell_id``,
        ``predicted`` (class), ``class_probability``, ``label`` (from expression), ``confidence``, ``agrees`` (bool;
        None where not paired or the label is Unknown), ``distance_um``, ``iou``, ``x``, ``y`` (he_px, of the run's
        nucleus where there is one).
    taxonomy
        Order and colours of the classes.
    """

    nuclei: pd.DataFrame
    taxonomy: Taxonomy

    def confusion(self) -> pd.DataFrame:
        """Counts: a row a label (Unknown and `NOT_IN_RUN` last), a column a predicted class (`NOT_PREDICTED` last)."""
        names = [*self.taxonomy.names, self.taxonomy.unknown.name]
        label = self.nuclei["label"].fillna(NOT_IN_RUN)
        predicted = self.nuclei["predicted"].fillna(NOT_PREDICTED)
        table = pd.crosstab(label, predicted)
        rows = [name for name in (*names, NOT_IN_RUN) if name in table.index]
        columns = [name for name in (*names, NOT_PREDICTED) if name in table.columns]
        return table.reindex(index=rows, columns=columns, fill_value=0).rename_axis(index="label", columns=None)

    def scores(self) -> pd.DataFrame:
        """Agreement in numbers: one row for all nuclei, one a class that has labels.

        Columns: class, labelled (nuclei with that label), detected (fraction of them that were predicted), and over
        pairs with a label: pairs, agreement (fraction with the same class; of a class its recall), precision, f1; in
        the row of all nuclei f1 is the mean over classes, and kappa Cohen's.
        """
        nuclei, unknown = self.nuclei, self.taxonomy.unknown.name
        labelled = nuclei[nuclei["label"].notna() & (nuclei["label"] != unknown)]
        pairs = labelled[labelled["status"] == PAIRED]
        rows = [self._class_scores(name, labelled, pairs) for name in self.taxonomy.names]
        rows = [row for row in rows if row["labelled"]]
        names = list(self.taxonomy.names)
        counts = pd.crosstab(pairs["label"], pairs["predicted"]).reindex(index=names, columns=names, fill_value=0)
        whole = {
            "class": "all",
            "labelled": len(labelled),
            "detected": float(ratio(len(pairs), len(labelled))),
            "pairs": len(pairs),
            "agreement": float(ratio((pairs["label"] == pairs["predicted"]).sum(), len(pairs))),
            "precision": np.nan,
            "f1": np.mean([row["f1"] for row in rows]) if rows else np.nan,
            "kappa": cohen_kappa(counts),
        }
        return pd.DataFrame([whole, *rows])

    @staticmethod
    def _class_scores(name: str, labelled: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, object]:
        true, predicted = pairs["label"] == name, pairs["predicted"] == name
        both, count = int((true & predicted).sum()), int((labelled["label"] == name).sum())
        f1, precision, recall = f1_precision_recall(both, int(predicted.sum()) - both, int(true.sum()) - both)
        return {
            "class": name,
            "labelled": count,
            "detected": float(ratio(true.sum(), count)),
            "pairs": int(true.sum()),
            "agreement": recall,
            "precision": precision,
            "f1": f1,
            "kappa": np.nan,
        }

    def write(self, table: str | Path, nuclei: str | Path, scores: str | Path) -> None:
        """Write the confusion (tsv), the nuclei (parquet) and the scores (tsv)."""
        with atomic_write(table) as aside:
            self.confusion().to_csv(aside, sep="\t", lineterminator="\n")
        with atomic_write(scores) as aside:
            self.scores().to_csv(aside, sep="\t", index=False, float_format="%.4f", lineterminator="\n")
        write_table(self.nuclei, nuclei)


def compare_slide(
    nuclei: str | Path | NucleiFile,
    sample: Sample,
    labels: str | Path | pd.DataFrame,
    *,
    radius_um: float = 3.0,
    min_iou: float = 0.0,
) -> Agreement:
    """Pair the predicted nuclei of a slide with those of its Xenium run and put class beside label.

    Nuclei are paired one to one by their centroids: as many as can be within the radius, with the smallest sum of
    distances (`pair_centroids`, corrected policy). The outlines of both are read in pieces: memory grows by the
    centroids and the table that is returned.

    Parameters
    ----------
    nuclei
        nuclei.parquet, its folder, or opened; of the sample's own H&E.
    sample
        The run: nuclei in he_px.
    labels
        labels/{method}.parquet of the sample, or its table: ``cell_id, label, confidence``.
    radius_um
        Farther apart is no pair.
    min_iou
        Nor is what overlaps less.

    Raises
    ------
    UserError
        If the nuclei are of another slide, or the labels of another sample.
    """
    nuclei = nuclei if isinstance(nuclei, NucleiFile) else NucleiFile(nuclei)
    _check_slide(nuclei, sample)
    taxonomy = nuclei.taxonomy
    predicted = _predicted(nuclei)
    truth = _truth(sample, labels, taxonomy)
    radius = radius_um / sample.um_per_px
    pairs, _, _ = pair_centroids(truth[["x", "y"]], predicted[["x", "y"]], radius, policy="corrected")
    iou = pair_overlaps(nuclei, sample.boundaries, pairs)
    pairs, iou = pairs[iou >= min_iou], iou[iou >= min_iou]
    distance = np.linalg.norm(
        truth[["x", "y"]].to_numpy()[pairs[:, 0]] - predicted[["x", "y"]].to_numpy()[pairs[:, 1]], axis=1
    )
    return Agreement(_joined(truth, predicted, pairs, distance * sample.um_per_px, iou, taxonomy), taxonomy)


def _check_slide(nuclei: NucleiFile, sample: Sample) -> None:
    meta = nuclei.metadata
    size, recorded = tuple(sample.he.shape[:2]), (meta.get("height"), meta.get("width"))
    if size != recorded:
        raise UserError(
            f"{nuclei.path}: nuclei of a slide of {recorded[1]} x {recorded[0]} px cannot be compared with sample "
            f"{sample.name}, whose H&E has {size[1]} x {size[0]}; name the sample's own slide in column path"
        )


def _predicted(nuclei: NucleiFile) -> pd.DataFrame:
    names = {"centroid_x": "x", "centroid_y": "y", "class": "predicted"}
    columns = ["nucleus_id", "class", "class_probability", "centroid_x", "centroid_y"]
    batches = [batch.to_pandas() for batch in nuclei.arrow_batches(columns)]
    frame = pd.concat(batches) if batches else pd.DataFrame(columns=columns)
    return frame.rename(columns=names).astype({"x": float, "y": float}).reset_index(drop=True)


def _truth(sample: Sample, labels: str | Path | pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    wanted = ["cell_id", "label", "confidence"]
    table = labels[wanted] if isinstance(labels, pd.DataFrame) else read_table(labels, wanted)
    strange = sorted(set(table["label"]) - {*taxonomy.names, taxonomy.unknown.name})
    if strange:
        raise UserError(
            f"labels of sample {sample.name}: {', '.join(strange)} is no class of the model "
            f"({', '.join(taxonomy.names)}); compare with labels of the model's taxonomy"
        )
    nuclei = sample.boundaries
    row, centers = nuclei.rows_in(pa.array(table["cell_id"].astype(str), pa.string())), nuclei.measures.centroid
    known = row >= 0
    if len(row) and not known.any():
        raise UserError(f"labels of sample {sample.name}: hold none of its cells; they are of another sample")
    return pd.DataFrame(
        {
            "nucleus_index": np.arange(len(row)),
            "cell_id": nuclei.cell_ids().to_pandas().to_numpy(object),
            "label": np.where(known, table["label"].to_numpy(object)[row], taxonomy.unknown.name),
            "confidence": np.where(known, table["confidence"].to_numpy(np.float32)[row], np.float32(np.nan)),
            "x": centers[:, 0],
            "y": centers[:, 1],
        }
    )


def _joined(
    truth: pd.DataFrame,
    predicted: pd.DataFrame,
    pairs: np.ndarray,
    distance: np.ndarray,
    iou: np.ndarray,
    taxonomy: Taxonomy,
) -> pd.DataFrame:
    left = truth.iloc[pairs[:, 0]].reset_index(drop=True)
    right = predicted.iloc[pairs[:, 1]].drop(columns=["x", "y"]).reset_index(drop=True)
    paired = pd.concat([left, right], axis=1).assign(distance_um=distance, iou=iou, status=PAIRED)
    known = paired["label"] != taxonomy.unknown.name
    paired["agrees"] = pd.array((paired["label"] == paired["predicted"]).where(known), dtype="boolean")
    unpredicted = truth.drop(index=truth.index[pairs[:, 0]]).assign(status=NOT_PREDICTED)
    unknown = predicted.drop(index=predicted.index[pairs[:, 1]]).assign(status=NOT_IN_RUN)
    frame = pd.concat([paired, unpredicted, unknown], ignore_index=True)
    for column in ("nucleus_id", "nucleus_index"):
        frame[column] = frame[column].fillna(-1).astype(np.int64)
    order = ["status", "nucleus_id", "nucleus_index", "cell_id", "predicted", "class_probability", "label"]
    return frame[[*order, "confidence", "agrees", "distance_um", "iou", "x", "y"]]
