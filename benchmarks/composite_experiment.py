"""Labels from expression against labels by hand, on real H&E: two models, the paper's three tables, epoch by epoch.

    python benchmarks/composite_experiment.py --write                                 # CPU, one thread a model
    python benchmarks/composite_experiment.py --architecture cellvit-256 --epochs 60  # where a GPU is at hand

`st` learns from the composite samples of ../shared, labelled from their counts alone (method `stnuclei`); `manual` from
`pannuke_like`, other tiles of the same set with classes drawn by hand. Both take the same number of steps. Both are
scored on six tiles that neither has seen, against CoNSeP's own outlines and classes (see composite_data.py).
`--models st manual truth` adds a third: the composites' patches with hand-drawn classes, which parts the price of the
labels from the price of other tiles.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "benchmarks")]

import pandas as pd  # noqa: E402

from composite_data import Learnt, composites, held_out, pannuke_like  # noqa: E402
from composite_report import curves, pictures, write_report  # noqa: E402
from stnuclei.config import TrainSettings  # noqa: E402
from stnuclei.evaluation import (  # noqa: E402
    describe_store,
    score_classification,
    score_segmentation,
    table1,
    table2,
    table3,
)
from stnuclei.loading import Source  # noqa: E402

MODELS = {
    "st": lambda shared, folder: composites(shared, folder, "stnuclei"),
    "manual": pannuke_like,
    "truth": lambda shared, folder: composites(shared, folder, "truth"),
}


def settings_of(options: argparse.Namespace) -> TrainSettings:
    """The recipe, the same for every model."""
    return TrainSettings(
        architecture=options.architecture,
        encoder_weights=options.encoder_weights,
        epochs=options.epochs,
        samples_per_epoch=options.samples_per_epoch,
        batch_size=options.batch,
        learning_rate=options.learning_rate,
        schedule="cosine",
        warmup_steps=20,
        augmentation=options.augmentation,
        sampling="random",
        precision=options.precision,
        threads=1,
        workers=2,
        seed=options.seed,
        tensorboard=False,
    )


def train_one(
    name: str, sources: list[Source], validation: list[Source], folder: Path, settings: TrainSettings
) -> None:
    """Train one model, its words in ``train.log``."""
    from stnuclei.training import train

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "train.log", "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        train(sources, validation, folder, settings, taxonomy="pannuke", provenance={"experiment": name})


def train_all(learnt: dict[str, Learnt], unseen: dict[str, Source], folder: Path, options: argparse.Namespace) -> None:
    """All models, side by side on a CPU, one after the other on a GPU; the last epoch is kept, none is chosen."""
    import torch

    side_by_side = 1 if torch.cuda.is_available() else len(learnt)
    with ProcessPoolExecutor(side_by_side, mp_context=multiprocessing.get_context("spawn")) as pool:
        validation, settings = list(unseen.values()), settings_of(options)
        jobs = [
            pool.submit(train_one, name, one.sources, validation, folder / name, settings)
            for name, one in learnt.items()
        ]
        for job in jobs:
            job.result()


def score_all(
    models: list[str], unseen: dict[str, Source], folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, Path]]]:
    """Segmentation and class scores of every model on every held-out sample by both policies, and the predictions."""
    from stnuclei.prediction import predict_patches

    segmentation, classes, predictions = [], [], {}
    for model in models:
        for sample, source in unseen.items():
            out = folder / model / f"{sample}.zarr"
            predict_patches(folder / model / "checkpoint.pt", source.patches, out, batch_size=8)
            predictions.setdefault(sample, {})[model] = out
            for policy in ("official", "corrected"):
                about = {"model": model, "sample": sample, "policy": policy}
                scores = score_segmentation(source.patches, out, policy, labels=source.labels)
                segmentation.append(scores.assign(**about))
                classes.append(score_classification(source.patches, source.labels, out, policy=policy).assign(**about))
    return pd.concat(segmentation), pd.concat(classes), predictions


def tables(
    learnt: dict[str, Learnt], unseen: dict[str, Source], segmentation: pd.DataFrame, classes: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """The three tables; one row a model and policy in the last two."""
    entries = [describe_store(s.patches, one.dataset, "learnt from") for one in learnt.values() for s in one.sources]
    entries += [describe_store(source.patches, "CoNSeP's own", "held out") for source in unseen.values()]
    rows = {"st": "paper", "manual": "manual", "truth": ""}  # the paper's row that each stands beside
    return {
        "Table 1: the data": table1(entries),
        "Table 2: segmentation of held-out tiles": table2(segmentation, rows=rows, seed=1),
        "Table 3: classes of matched nuclei": table3(classes, rows=rows, seed=1),
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--folder", type=Path, help="keep everything and pictures here, and go on from what is there")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["st", "manual"])
    parser.add_argument("--architecture", default="cellvit-light")
    parser.add_argument("--encoder-weights", help="HIPT or SAM file for the larger architectures")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--samples-per-epoch", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--augmentation", default="flips")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/composite_experiment.*")
    return parser.parse_args()


def main() -> None:
    """Run the experiment, print the tables, write them."""
    options = parse()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        learnt = {name: MODELS[name](options.shared, folder) for name in options.models}
        unseen = held_out(options.shared, folder)
        train_all(learnt, unseen, folder, options)
        segmentation, classes, predictions = score_all(options.models, unseen, folder)
        histories = {name: pd.read_csv(folder / name / "history.csv") for name in options.models}
        text = write_report(tables(learnt, unseen, segmentation, classes), histories, classes, learnt, __doc__, options)
        print(text)
        # Beside the results they would be published, and CoNSeP's pixels are for research only.
        pictures(folder / "predictions.jpg", unseen, predictions)
        if options.write:
            results = ROOT / "benchmarks" / "results"
            (results / "composite_experiment.md").write_text(text)
            curves(results / "composite_experiment.png", histories)


if __name__ == "__main__":
    main()
