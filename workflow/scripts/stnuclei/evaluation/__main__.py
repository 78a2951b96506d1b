"""Score two folders of label maps or GeoJSON: ``python -m stnuclei.evaluation --truth DIR --pred DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stnuclei.errors import UserError
from stnuclei.evaluation.classscores import codes_to_table, confusion_table, pair_codes
from stnuclei.evaluation.folders import extent, paint, pair_files, read_nuclei
from stnuclei.evaluation.patchscores import Rules, score_patch
from stnuclei.evaluation.policies import POLICIES, Policy
from stnuclei.evaluation.scoretables import table2, table3
from stnuclei.evaluation.tables import write_table
from stnuclei.progress import progress
from stnuclei.taxonomy import Taxonomy


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m stnuclei.evaluation",
        description="Score predicted nuclei against the truth. Files are paired by name; npy, png and tif hold label "
        "maps (0 background, a number a nucleus), geojson outlines. Classes: {name}.csv beside a map (id, class), a "
        "second channel, or QuPath's classification.",
    )
    options.add_argument("--truth", type=Path, required=True, help="folder of the truth")
    options.add_argument("--pred", type=Path, required=True, help="folder of the predictions")
    options.add_argument("--out", type=Path, help="folder for images.tsv, segmentation.*, classification.*")
    options.add_argument(
        "--um-per-px", type=float, help="resolution of both, um per px (without it 0.25, and it says so)"
    )
    options.add_argument("--radius-um", type=float, default=3.0, help="centroids farther apart are no pair (3)")
    options.add_argument("--policy", choices=[*POLICIES, "both"], default="both", help="how empty images count (both)")
    options.add_argument("--taxonomy", default="pannuke", help="name or YAML file of the classes (pannuke)")
    options.add_argument("--bootstrap", type=int, default=1000, help="resamples of the intervals (1000)")
    options.add_argument("--seed", type=int, default=0)
    return options


def score_folders(
    truth: Path, pred: Path, um_per_px: float, radius_um: float, policy: Policy, taxonomy: Taxonomy
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score two folders.

    Returns
    -------
    Segmentation, one row an image (as `score_segmentation`, with column ``image``), and pairs of classes (as
    `score_classification`), empty where a side has no classes.

    Raises
    ------
    UserError
        Naming the file that is missing or cannot be scored.
    """
    rules = Rules(policy, radius_um / um_per_px, um_per_px)
    rows, codes, names = [], [], []
    for name, true_path, pred_path in progress(pair_files(truth, pred), None, f"scores ({policy})", "images"):
        true, predicted = read_nuclei(true_path, taxonomy), read_nuclei(pred_path, taxonomy)
        if true.instances is not None and predicted.instances is not None:
            if true.instances.shape != predicted.instances.shape:
                raise UserError(
                    f"{name}: truth is {true.instances.shape} px and prediction {predicted.instances.shape}"
                )
        known = next((n.instances.shape for n in (true, predicted) if n.instances is not None), None)
        shape = known or tuple(np.maximum(extent(true), extent(predicted)).tolist())
        maps = paint(true, shape), paint(predicted, shape)
        classed = true.classes is not None and predicted.classes is not None
        pred_classes = np.maximum(predicted.classes, 0) if classed else None
        try:
            true_classes = true.classes if classed else None
            rows.append({"image": name} | score_patch(*maps, rules, pred_classes, true_classes, taxonomy.names))
            if classed:
                certain = {"class": pred_classes, "class_probability": np.ones(len(pred_classes))}
                codes.append(pair_codes(*maps, true.classes, certain, taxonomy.n_outputs, rules.radius, policy))
                names.append(name)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
    return pd.DataFrame(rows), codes_to_table(codes, np.array([""] * len(codes), dtype=object), taxonomy)


def run(arguments: Sequence[str] | None = None) -> None:
    """Score, print and write."""
    options = parser().parse_args(arguments)
    if options.um_per_px is None:
        print("--um-per-px is not given: taking 0.25 um/px, so that a radius of 3 um is 12 px", file=sys.stderr)
        options.um_per_px = 0.25
    if options.um_per_px <= 0:
        raise UserError(f"--um-per-px must be above 0, not {options.um_per_px}")
    taxonomy = Taxonomy.load(options.taxonomy)
    policies = POLICIES if options.policy == "both" else (options.policy,)
    segmentation, classes = [], []
    for policy in policies:
        scores, pairs = score_folders(
            options.truth, options.pred, options.um_per_px, options.radius_um, policy, taxonomy
        )
        marks = {"model": options.pred.name or str(options.pred), "policy": policy}
        segmentation.append(scores.assign(sample=scores["image"], **marks))
        classes.append(pairs.assign(sample="", **marks))
    scores, pairs = pd.concat(segmentation), pd.concat(classes)
    # images are the units here: the interval by slide would repeat the one by patch
    kept = {"bootstrap_n": options.bootstrap, "seed": options.seed}
    tables = {"segmentation": table2(scores.assign(sample="all"), **kept)}
    if len(pairs):
        tables["classification"] = table3(pairs, taxonomy, **kept)
    for name, table in tables.items():
        report(table, name, options.out)
    if len(pairs):
        print(confusion_table(pairs[pairs["policy"] == policies[-1]]).to_string())
    if options.out:
        scores.drop(columns=["sample"]).to_csv(options.out / "images.tsv", sep="\t", index=False)


def report(table: pd.DataFrame, name: str, out: Path | None) -> None:
    """Print a table; write it where a folder is given."""
    from stnuclei.evaluation.tables import readable

    shown = readable(table.drop(columns=[c for c in table if c.endswith("_paper") or c == "slides"]))
    print(shown.to_markdown(index=False), end="\n\n")
    if out:
        write_table(table, out / f"{name}.tsv", out / f"{name}.md")


def main() -> int:
    """Run as a program: a user's mistake is one line and exit code 1."""
    try:
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
