"""Expression from one H&E patch: the single-patch baseline on the composite samples of ../shared.

    python benchmarks/expression.py --write        # --folder F keeps trainings and continues

Real H&E (CoNSeP, colon), 12 and 6 tiles, as two donors; counts drawn for the nuclei from real Xenium cells (breast)
of their class. So expression follows the nuclei's classes by construction and is otherwise noise: good for asking
whether what is visible is learnt and what is not is not, no evidence on biology. Networks start from random weights (no
ImageNet file lies here); patches of 48 um are brought to 96 px (B0: 64). `multi_donor`: learnt from composite_a, tested
on composite_hest. `single_donor`: blocks of tissue of composite_a.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import pandas as pd  # noqa: E402
import torch  # noqa: E402

from stnuclei.config.expression import ExpressionSettings  # noqa: E402
from stnuclei.expression import (  # noqa: E402
    PatchSource,
    count_cells,
    patch_table,
    predict_expression,
    read_table,
    score_expression,
    spatial_genes,
    train_expression,
    write_table,
)
from stnuclei.expression.figures import draw_maps, draw_predictability  # noqa: E402
from stnuclei.expression.report import as_markdown, expression_table  # noqa: E402
from stnuclei.io import read_sample  # noqa: E402
from stnuclei.markers import load_markers  # noqa: E402
from stnuclei.patches import PatchStore, cut_patches  # noqa: E402

SAMPLES = {"composite_a": ("xenium", "donor_a"), "composite_hest": ("hest", "donor_b")}
MIN_COUNTS, NULLS, NULL_EPOCHS = 500, 2, 4
#: Name -> protocol, slides, what differs from the defaults.
MODELS = {
    "tiny, multi-donor": ("multi_donor", list(SAMPLES), {"network": "efficientnet-tiny", "epochs": 15}),
    "tiny, single-donor": ("single_donor", ["composite_a"], {"network": "efficientnet-tiny", "epochs": 15}),
    "B0, multi-donor": ("multi_donor", list(SAMPLES), {"network": "efficientnet-b0", "epochs": 16, "patch_px": 64}),
}
COMMON = {
    "patch_px": 96,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "patience": 40,
    "min_counts": MIN_COUNTS,
    "block": 2,
}


def prepare(shared: Path, folder: Path) -> dict[str, PatchSource]:
    """Patches and table of each composite."""
    sources = {}
    for name, (platform, donor) in SAMPLES.items():
        sample = read_sample(platform, shared / "data" / name, tissue="Breast", sample=name)
        out = folder / name
        sources[name] = PatchSource(out / "patches.zarr", out / "e.h5ad")
        if sources[name].expression.is_file():
            continue
        cut_patches(sample, out / "patches.zarr", size=192, stride=192, min_nuclei=3)
        store = PatchStore(out / "patches.zarr")
        settings = {"donor": donor, "controls": 20, "min_counts": MIN_COUNTS}
        write_table(patch_table(store, count_cells(sample, store), sample.table.var_names, **settings), out / "e.h5ad")
    return sources


def run(name: str, sources: dict[str, PatchSource], folder: Path, threads: int) -> tuple:
    """Train, train the nulls, predict, score; scores, predictions, and seconds of the training proper."""
    protocol, slides, own = MODELS[name]
    settings = ExpressionSettings(**{**COMMON, **own, "min_counts": MIN_COUNTS, "threads": threads, "workers": threads})
    held = ["donor_b"] if protocol == "multi_donor" else []
    used = [sources[slide] for slide in slides]
    predictions = []
    for number in range(NULLS + 1):
        out = folder / name.replace(", ", "_") / str(number)
        brief = ExpressionSettings(**{**settings.to_dict(), "epochs": NULL_EPOCHS}) if number else settings
        train_expression(used, out, brief, protocol, held_out=held, shuffle=number, provenance={"model": name})
        split = pd.read_csv(out / "split.tsv", sep="\t")
        predictions.append(predict_expression(out / "checkpoint.pt", used, split, threads=threads))
    spatial = {slide: spatial_genes(read_table(sources[slide].expression), min_counts=MIN_COUNTS) for slide in slides}
    markers = load_markers().for_tissue("Breast")["symbol"]
    history = pd.read_csv(folder / name.replace(", ", "_") / "0" / "history.csv")
    return score_expression(predictions[0], predictions[1:], spatial, markers), predictions[0], history["seconds"].sum()


def main() -> None:
    """Run as a program; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("STNUCLEI_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--folder", type=Path, help="where trainings are kept; what is finished there is not repeated")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = ROOT / "benchmarks" / "results"
    scored, facts = {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        sources = prepare(arguments.shared, folder)
        for name in arguments.models:
            scores, predictions, seconds = run(name, sources, folder, arguments.threads)
            scored[name] = ({"protocol": MODELS[name][0]}, scores.summary, scores.drivers)
            facts.append(
                f"{name}: {seconds:.0f} s of training, {int(predictions.uns['model']['train_patches'])} patches"
            )
            if arguments.write and name == arguments.models[0]:
                title = f"composite samples, {name}"
                figure = results / "expression.png"
                draw_predictability(figure, scores.genes, scores.summary, scores.drivers, title)
                draw_maps(results / "expression_maps.png", predictions, scores.genes, title)
    text = as_markdown(expression_table(scored)) + "\n" + "; ".join(facts) + f"; {arguments.threads} threads.\n"
    print(text)
    if arguments.write:
        body = "\n".join(__doc__.splitlines()[4:]).strip()
        command = f"`python benchmarks/expression.py --write --threads {arguments.threads}`"
        pictures = "![predictability](expression.png)\n\n![maps](expression_maps.png)\n"
        head = "# The single-patch expression baseline on the composite samples"
        (results / "expression.md").write_text(f"{head}\n\n{command}\n\n{body}\n\n{text}\n{pictures}")


if __name__ == "__main__":
    main()
