"""Cell classifiers on real pixels against the network's own class branch, and the time that a head takes.

    python benchmarks/classifiers.py                     # the comparison; --write: into benchmarks/results
    python benchmarks/classifiers.py --only speed        # a million synthetic tokens of 384 numbers

The comparison. Xenium bundles of real H&E pixels and real count profiles (tests/real_pixels.py) are labelled from
expression; `cellvit-tiny` learns from ten patches in eight orientations; its encoder is then frozen, heads learn from
its tokens. Everything is scored on five patches that nobody saw, against NuCLS' classes drawn by hand. The class branch
is shown as it was when the tokens were taken, and after further training of at least as many CPU seconds as tokens and
head took: the same budget. Settings of heads are the defaults. The network's training was chosen knowing a score: its
first form (8 epochs at a rate of 1e-3) found one nucleus on the five patches, so the rate, the crops and 30 epochs were
taken instead, once, before any head was compared. Of the taxonomy `tissue11` only the time is given: its types were
drawn at random within a nucleus' class, so no pixel shows them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

from real_pixels import make_bundle  # noqa: E402
from stnuclei.classifiers import TokenSource, extract_tokens, train_classifier  # noqa: E402
from stnuclei.classifiers.examples import Examples  # noqa: E402
from stnuclei.classifiers.fit import fit  # noqa: E402
from stnuclei.clustering import cluster_cells  # noqa: E402
from stnuclei.config import ClassifierSettings, TrainSettings  # noqa: E402
from stnuclei.evaluation import score_classification  # noqa: E402
from stnuclei.evaluation.class_scores import confusion_table  # noqa: E402
from stnuclei.io import read_sample  # noqa: E402
from stnuclei.labels import label_cells  # noqa: E402
from stnuclei.loading import Source  # noqa: E402
from stnuclei.metrics import accuracy, class_f1  # noqa: E402
from stnuclei.patches import cut_patches  # noqa: E402
from stnuclei.prediction import predict_patches  # noqa: E402
from stnuclei.taxonomy import Taxonomy  # noqa: E402
from stnuclei.training import train  # noqa: E402

#: Training of the network: brief, on the CPU. At a rate of 1e-3, whole patches and 8 epochs it found a single nucleus.
NETWORK = {
    "architecture": "cellvit-tiny", "batch_size": 8, "learning_rate": 3e-3, "crop_px": 128, "samples_per_epoch": 320,
    "freeze_epochs": 0, "sampling": "random", "augmentation": "flips", "validation_patches": 8,
    "validate_every": 1000, "tensorboard": False, "device": "cpu", "schedule": "constant", "workers": 0, "threads": 1,
}  # fmt: skip
HEADS = (("box", 128), ("centre", 128), ("nucleus", 128), ("nucleus", 0))


def cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Result of a call, and its CPU seconds."""
    before = cpu()
    return function(*arguments, **options), cpu() - before


def prepare(folder: Path, name: str, taxonomies: tuple[str, ...], seed: int) -> Path:
    """Bundle, patches and label tables of one set; the truth drawn by hand as ``truth.parquet``."""
    if (folder / "truth.parquet").exists():
        return folder
    truth = make_bundle(folder / "bundle", name, seed)
    sample = read_sample("xenium", folder / "bundle", sample=name, tissue="Breast")
    cut_patches(sample, folder / "patches.zarr", seed=seed)
    clustering = cluster_cells(sample.table, seed=seed)
    for taxonomy in taxonomies:
        labels = label_cells(
            sample.table, "stnuclei", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes,
            taxonomy=taxonomy, disease="cancer", seed=seed,
        )  # fmt: skip
        labels.cells.to_parquet(folder / f"{taxonomy}.parquet")
    own = truth.set_index("cell_id")["label"].reindex(sample.table.obs_names.astype(str)).fillna("Unknown")
    pd.DataFrame({"cell_id": own.index, "label": own.to_numpy()}).to_parquet(folder / "truth.parquet")
    return folder


def train_network(data: Path, out: Path, epochs: int, seed: int) -> tuple[Path, float]:
    """Train `cellvit-tiny` on the set's labels from expression: checkpoint, and CPU seconds over all its parts."""
    settings = TrainSettings(**NETWORK, epochs=epochs, seed=seed)
    done, spent, before = out / f"{epochs}.txt", out / "cpu_seconds.txt", cpu()
    if not done.exists():
        out.mkdir(parents=True, exist_ok=True)
        earlier = float(spent.read_text()) if spent.exists() else 0.0
        try:
            train([Source(data / "patches.zarr", data / "pannuke.parquet")], [], out, settings, taxonomy="pannuke")
        finally:  # a run that is stopped goes on
            spent.write_text(str(earlier + cpu() - before))
        done.write_text(spent.read_text())
    return out / "checkpoint.pt", float(done.read_text())


def once(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a call, kept as JSON: a benchmark that was stopped goes on."""
    if not path.exists():
        path.write_text(json.dumps(function(*arguments)))
    return json.loads(path.read_text())


def scores(checkpoint: Path, held_out: Path, out: Path, classifier: Path | None = None) -> dict[str, float]:
    """Classes of matched nuclei on the unseen patches, against the truth drawn by hand."""
    out.parent.mkdir(parents=True, exist_ok=True)
    predict_patches(checkpoint, held_out / "patches.zarr", out, batch_size=8, device="cpu", classifier=classifier)
    table = score_classification(held_out / "patches.zarr", held_out / "truth.parquet", out, "pannuke", "corrected")
    names = list(Taxonomy.load("pannuke").names)
    square = confusion_table(table).reindex(index=names, columns=names, fill_value=0).to_numpy()
    there = square.sum(1) > 0  # macro F1 over the classes of the truth
    return {
        "matched nuclei": int(square.sum()),
        "macro F1": float(np.nanmean(class_f1(square)[there])),
        "accuracy": float(accuracy(square)),
    }


def compare(folder: Path, epochs: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the comparison, and of a new taxonomy."""
    seen = prepare(folder / "nucls", "nucls", ("pannuke", "tissue11"), seed)
    unseen = prepare(folder / "nucls_held_out", "nucls_held_out", (), seed)
    checkpoint, cost = train_network(seen, folder / "network", epochs, seed)
    first = once(folder / "own.json", scores, checkpoint, unseen, folder / "own.zarr")
    rows = [{"classes by": "class branch", "tokens": "", "CPU s after the network": 0.0, **first}]
    dearest = 0.0
    for nuclei in ("run", "network"):
        for tokens, hidden in HEADS:
            choice = (nuclei, tokens, hidden)
            made, spent = once(_path(folder, choice, "head"), _head, seen, folder, checkpoint, choice, "pannuke", seed)
            dearest = max(dearest, spent)
            name = f"classifier, {hidden} hidden" if hidden else "classifier, linear"
            words = {"classes by": name, "tokens": f"{tokens}, {nuclei}", "CPU s after the network": spent}
            found = once(_path(folder, choice, "scores"), scores, checkpoint, unseen, folder / "head.zarr", Path(made))
            rows.append({**words, **found})
    rows.insert(1, _longer(seen, unseen, folder, max(1, int(np.ceil(dearest / (cost / epochs)))), epochs, seed))
    fine, _ = once(folder / "tissue11.json", _head, seen, folder, checkpoint, ("run", "nucleus", 128), "tissue11", seed)
    facts = torch.load(fine, weights_only=True)["provenance"]["result"]
    new = {
        "taxonomy": "tissue11", "nuclei": facts["nuclei"], "epochs": facts["epochs"],
        "CPU s of the head": facts["cpu_seconds"], "seconds": facts["seconds"],
    }  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame([new])


def _path(folder: Path, choice: tuple[str, str, int], what: str) -> Path:
    return folder / f"{'.'.join(map(str, choice))}.{what}.json"


def _longer(seen: Path, unseen: Path, folder: Path, more: int, epochs: int, seed: int) -> dict[str, Any]:
    """Row of the class branch after more epochs. The rate is constant: a longer run takes the same first steps."""
    if not (folder / "longer").exists():
        shutil.copytree(folder / "network", folder / "longer")
    checkpoint, total = train_network(seen, folder / "longer", epochs + more, seed)
    _, before = train_network(seen, folder / "network", epochs, seed)
    found = once(folder / "longer.json", scores, checkpoint, unseen, folder / "longer.zarr")
    name = f"class branch, {more} more epoch" + "s" * (more > 1)
    return {"classes by": name, "tokens": "", "CPU s after the network": total - before, **found}


def _head(
    data: Path, folder: Path, checkpoint: Path, choice: tuple[str, str, int], taxonomy: str, seed: int
) -> tuple[str, float]:
    """A classifier, and the CPU seconds of its tokens and its head."""
    nuclei, tokens, hidden = choice
    store, out = folder / f"{nuclei}.{tokens}.zarr", folder / f"{nuclei}.{tokens}.{hidden}.{taxonomy}"
    taken = extract_tokens(checkpoint, data / "patches.zarr", store, tokens=tokens, nuclei=nuclei, device="cpu")
    source = TokenSource(store, data / f"{taxonomy}.parquet")
    result = train_classifier([source], out, taxonomy, settings=ClassifierSettings(hidden=hidden, seed=seed))
    return str(out / "classifier.pt"), taken["cost"]["cpu_seconds"] + result["cpu_seconds"]


def speed(count: int, dim: int, hidden: int, seed: int) -> dict[str, Any]:
    """CPU seconds of a head on synthetic tokens of eleven classes that overlap."""
    rng, taxonomy = np.random.default_rng(seed), Taxonomy.load("tissue11")
    number = len(taxonomy.names)
    centres = rng.normal(0, 0.35, (number, dim)).astype(np.float32)

    def examples(n: int) -> Examples:
        classes = rng.integers(0, number, n)
        vectors = np.empty((n, dim), np.float16)
        for begin in range(0, n, 1 << 16):
            rows = slice(begin, begin + (1 << 16))
            noise = rng.standard_normal((len(classes[rows]), dim), dtype=np.float32)
            vectors[rows] = centres[classes[rows]] + 3 * noise
        return Examples(vectors, classes, (1 << classes).astype(np.int32), np.ones(n, np.float32), np.arange(n) // 40)

    train_part, validation = examples(count), examples(count // 10)
    fitted, spent = timed(fit, train_part, validation, taxonomy, ClassifierSettings(hidden=hidden, seed=seed))
    return {
        "nuclei": count,
        "numbers a token": dim,
        "head": f"{hidden} hidden" if hidden else "linear",
        "epochs": len(fitted.history),
        "CPU s": spent,
        "CPU s an epoch": spent / len(fitted.history),
        "accuracy, validation": fitted.history[fitted.best - 1]["val_accuracy"],
    }


def page(tables: dict[str, pd.DataFrame], command: str) -> str:
    """The results as Markdown."""
    load = os.getloadavg()[1]
    head = (
        "# Cell classifiers\n\n"
        f"`python benchmarks/classifiers.py {command} --write`: {platform.machine()}, {os.cpu_count()} cores, "
        f"one thread, load {load:.0f} while it ran; hence CPU seconds and no others.\n"
    )
    texts = [f"## {title}\n\n{table.round(3).to_markdown(index=False)}\n" for title, table in tables.items()]
    return "\n".join([head, *texts])


def main() -> None:
    """Run what is asked for; print it, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("comparison", "speed"))
    parser.add_argument("--epochs", type=int, default=30, help="of the network")
    parser.add_argument("--nuclei", type=int, default=1_000_000, help="synthetic tokens")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on with those that are there")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/classifiers*.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = ROOT / "benchmarks" / "results"
    if options.only != "speed":
        with contextlib.ExitStack() as stack:
            kept = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            command = f"--only comparison --epochs {options.epochs}"
            table, new = compare(kept, options.epochs, options.seed)
        _show(folder / "classifiers.md", page({"Unseen tiles": table, "A new taxonomy": new}, command), options)
    if options.only != "comparison":
        command = f"--only speed --nuclei {options.nuclei}"
        rows = [speed(options.nuclei, 384, hidden, options.seed) for hidden in (0, 128)]
        _show(folder / "classifiers_speed.md", page({"A head": pd.DataFrame(rows)}, command), options)


def _show(path: Path, text: str, options: argparse.Namespace) -> None:
    print(text)
    if options.write:
        path.write_text(text)


if __name__ == "__main__":
    main()
