"""Score predicted nuclei against a ground truth: two folders of files that are paired by name.

  stnuclei score --truth truth/ --pred predictions/ --um-per-px 0.25 --out scores/

npy, png and tif files hold label maps (0 background, a number a nucleus), geojson files outlines. Classes are read from
{name}.csv beside a map (columns id, class), from a second channel, or from QuPath's classification.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stnuclei import evaluation
from stnuclei.cli.options import positive, seed, whole_number
from stnuclei.disk import check_output

if TYPE_CHECKING:
    import pandas as pd

    from stnuclei.taxonomy import Taxonomy


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--truth", type=Path, required=True, help="folder of the truth")
    add("--pred", type=Path, required=True, help="folder of the predictions")
    add("--out", type=Path, help="folder for images.tsv, segmentation.*, classification.*")
    add("--um-per-px", type=positive, help="pixel size of both, um (0.25, with a warning)")
    add("--radius-um", type=positive, default=3.0, help="largest distance of paired centroids, um (3)")
    add("--policy", choices=("official", "corrected", "both"), default="both", help="how empty images count (both)")
    add("--taxonomy", default="pannuke", help="name or YAML file of the classes (pannuke)")
    add("--bootstrap", type=whole_number, default=1000, help="resamples of the intervals (1000)")
    add("--seed", type=seed, default=0, help="of the resampling (0)")


def run(options: argparse.Namespace) -> int:
    """Score, print and write."""
    from stnuclei.taxonomy import Taxonomy  # heavy, and not needed for --help

    if options.um_per_px is None:
        print("warning: --um-per-px is not given: 0.25 um/px is assumed, a radius of 3 um is 12 px", file=sys.stderr)
        options.um_per_px = 0.25
    if options.out:
        check_output(options.out)
    taxonomy = Taxonomy.load(options.taxonomy)
    scores, pairs = _score(options, taxonomy)
    # Images are the units here: the interval by slide would repeat the one by patch.
    resampling = {"bootstrap_n": options.bootstrap, "seed": options.seed}
    _report(evaluation.table2(scores.assign(sample="all"), **resampling), "segmentation", options.out)
    if len(pairs):
        _report(evaluation.table3(pairs, taxonomy, **resampling), "classification", options.out)
        print(evaluation.confusion_table(pairs[pairs["policy"] == pairs["policy"].iloc[-1]]).to_string())
    if options.out:
        scores.drop(columns=["sample"]).to_csv(options.out / "images.tsv", sep="\t", index=False)
    return 0


def _score(options: argparse.Namespace, taxonomy: Taxonomy) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores an image and pairs of classes, under each policy."""
    import pandas as pd

    from stnuclei.evaluation.folders import score_folders

    segmentation, classes = [], []
    for policy in ("official", "corrected") if options.policy == "both" else (options.policy,):
        scores, pairs = score_folders(
            options.truth, options.pred, options.um_per_px, options.radius_um, policy, taxonomy
        )
        columns = {"model": options.pred.name or str(options.pred), "policy": policy}
        segmentation.append(scores.assign(sample=scores["image"], **columns))
        classes.append(pairs.assign(sample="", **columns))
    return pd.concat(segmentation), pd.concat(classes)


def _report(table: pd.DataFrame, name: str, out: Path | None) -> None:
    """Print a table; write it where a folder is given."""
    shown = evaluation.readable(table.drop(columns=[c for c in table if c.endswith("_paper") or c == "slides"]))
    print(shown.to_markdown(index=False), end="\n\n")
    if out:
        evaluation.write_table(table, out / f"{name}.tsv", out / f"{name}.md")
