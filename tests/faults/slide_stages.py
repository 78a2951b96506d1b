"""Stages from a bundle to patches and label sets, on a simulated slide of a fifth of a millimetre."""

from pathlib import Path

import numpy as np

from faults.jobs import CONFIG, Stage, hashed, pixels, run_job
from stnuclei.config.samples import PLATFORM_COLUMNS
from stnuclei.io import open_sample
from stnuclei.patches import PatchStore
from stnuclei.quality import TissueMap, load_correction
from stnuclei.simulate import simulate_pannuke, simulate_sample
from stnuclei.tables import read_table

ROW = {"sample": "run", "platform": "xenium", "tissue": "Breast", "disease": "", "he_um_per_px": "", "hest_id": ""}
ROW |= dict.fromkeys(("he_image", "he_alignment", "nuclei", "counts", *PLATFORM_COLUMNS), "")


def _make_bundle(folder: Path) -> None:
    simulate_sample(folder / "run", "Breast", 3, layout="xoa3", size_um=(200.0, 220.0), annotated=True)


def _read(base: Path, out: Path) -> None:
    row = {**ROW, "path": str(base / "sample.inputs" / "run")}
    run_job("read_sample", out, {}, {"store": "sample.zarr"}, {"sample": row, "settings": CONFIG["slides"]})


def _sample(out: Path) -> str:
    sample = open_sample(out / "sample.zarr")
    frame = sample.nuclei
    return hashed(
        sample.table.X.toarray(), sample.table.obs.to_csv(), "".join(sample.table.var_names),
        np.asarray(sample.table.obsm["spatial"]), "".join(map(str, frame["cell_id"])), *frame.geometry.to_wkb(),
        sample.he.read(0, 0, sample.he.shape[0], 0, sample.he.shape[1]), repr(sample.he_to_morphology),
    )  # fmt: skip


def _find_tissue(base: Path, out: Path) -> None:
    outputs = {"tissue": "tissue.tif", "figure": "tissue.png"}
    store = {"store": base / "sample" / "sample.zarr"}
    run_job("find_tissue", out, store, outputs, {"um_per_px": CONFIG["tissue"]["um_per_px"]}, sample="run")
    outputs = {"checked": "alignment.json", "figure": "alignment.png"}
    params = {"settings": {**CONFIG["alignment"], "on_failure": "flag"}, "seed": 19}
    run_job("check_alignment", out, store | {"tissue": out / "tissue.tif"}, outputs, params, sample="run")


def _tissue(out: Path) -> str:
    tissue, correction = TissueMap.load(out / "tissue.tif"), load_correction(out / "alignment.json")
    return hashed(tissue.classes, repr(correction), pixels(out / "tissue.png"), pixels(out / "alignment.png"))


def _cluster(base: Path, out: Path) -> None:
    outputs = {"clusters": "clusters.parquet", "ranked_genes": "ranked_genes.parquet"}
    params = {"settings": CONFIG["clustering"], "seed": 19}
    run_job("cluster_cells", out, {"store": base / "sample" / "sample.zarr"}, outputs, params, sample="run")


def _clusters(out: Path) -> str:
    return hashed(*(read_table(out / f"{name}.parquet").to_csv() for name in ("clusters", "ranked_genes")))


def _label(base: Path, out: Path) -> None:
    endings = {"labels": "parquet", "evidence": "evidence.tsv", "explorer": "xenium_explorer.csv", "figure": "png"}
    inputs = {"store": base / "sample" / "sample.zarr", "regions": []}
    inputs |= {name: base / "clusters" / f"{name}.parquet" for name in ("clusters", "ranked_genes")}
    params = {"sample": ROW, "taxonomy": "pannuke", "settings": CONFIG["labels"]["stnuclei"], "seed": 19}
    outputs = {name: f"stnuclei.{ending}" for name, ending in endings.items()}
    run_job("label_cells", out, inputs, outputs, {**params, "other_names": []}, method="stnuclei")


def _labels(out: Path) -> str:
    texts = [(out / f"stnuclei.{ending}").read_text() for ending in ("evidence.tsv", "xenium_explorer.csv")]
    return hashed(read_table(out / "stnuclei.parquet").to_csv(), *texts, pixels(out / "stnuclei.png"))


def _cut(base: Path, out: Path) -> None:
    inputs = {"store": base / "sample" / "sample.zarr", "regions": []}
    inputs |= {"tissue": base / "tissue and alignment" / "tissue.tif"}
    inputs |= {"alignment": base / "tissue and alignment" / "alignment.json"}
    params = {"settings": CONFIG["patches"], "seed": 19, "other_names": []}
    run_job("cut_patches", out, inputs, {"patches": "patches.zarr", "figure": "patches.png"}, params, sample="run")


def patches(out: Path) -> str:
    """Content of a patch store and of the sheet beside it."""
    store = PatchStore(out / "patches.zarr")
    columns = (store.image[:], store.instances[:], store.origin, store.offset, store.tissue)
    nuclei = (store.cell_index, store.nucleus_index, store.centroid)
    return hashed(store.content_hash, *columns, *nuclei, pixels(out / "patches.png"))


def _make_pannuke(folder: Path) -> None:
    simulate_pannuke(folder / "pannuke", 5, patches_per_fold=2, folds=1, tissues=("Breast",))


def _import_pannuke(base: Path, out: Path) -> None:
    params = {"folder": str(base / "PanNuke.inputs" / "pannuke"), "fold": 1, "tissues": [], "seed": 19}
    outputs = {"patches": "patches.zarr", "labels": "manual.parquet", "figure": "patches.png"}
    run_job("import_pannuke", out, {}, outputs, {**params, "taxonomy": "pannuke"}, fold="1")


def _pannuke(out: Path) -> str:
    return hashed(patches(out), read_table(out / "manual.parquet").to_csv())


def _annotate(base: Path, out: Path) -> None:
    bundle = base / "sample.inputs" / "run"
    marks = {"annotation": str(bundle / "annotation.csv"), "annotation_map": str(bundle / "annotation_classes.tsv")}
    params = {"sample": ROW | marks, "taxonomy": "pannuke"}
    run_job("map_annotation", out, {"store": base / "sample" / "sample.zarr"}, {"labels": "manual.parquet"}, params)
    labels = [base / "labels" / "stnuclei.parquet"]
    outputs = {"table": "label_scores.tsv", "figure": "label_scores.png"}
    run_job("score_labels", out, {"labels": labels}, outputs, params | {"methods": ["stnuclei"]})


def _annotated(out: Path) -> str:
    scores = (out / "label_scores.tsv").read_text()
    return hashed(read_table(out / "manual.parquet").to_csv(), scores, pixels(out / "label_scores.png"))


def _publish(base: Path, out: Path) -> None:
    inputs = {"store": base / "sample" / "sample.zarr", "labels": [base / "labels" / "stnuclei.parquet"]}
    params = {"methods": ["stnuclei"], "taxonomy": "pannuke"}
    run_job("publish_sample", out, inputs, {"store": "sample.zarr"}, params, sample="run")


_STORE = {"sample/sample.zarr": True}
_BUNDLE = ("cells.parquet", "cell_feature_matrix.h5", "nucleus_boundaries.parquet", "run_he_image.ome.tif")
_BUNDLE += ("run_he_imagealignment.csv", "experiment.xenium")

SLIDE_STAGES = {
    "sample": Stage(
        _read, _sample, ("sample.zarr",), _make_bundle, {f"sample.inputs/run/{name}": False for name in _BUNDLE}
    ),
    "tissue and alignment": Stage(_find_tissue, _tissue, (), None, _STORE, ("sample",)),
    "clusters": Stage(_cluster, _clusters, ("clusters.parquet", "ranked_genes.parquet"), None, _STORE, ("sample",)),
    "labels": Stage(
        _label,
        _labels,
        ("stnuclei.parquet",),
        None,
        _STORE | {"clusters/clusters.parquet": True, "clusters/ranked_genes.parquet": True},
        ("sample", "clusters"),
    ),  # fmt: skip
    "annotation and its scores": Stage(
        _annotate,
        _annotated,
        ("manual.parquet",),
        None,
        {"labels/stnuclei.parquet": True},
        ("sample", "clusters", "labels"),
    ),  # fmt: skip
    "patches.zarr": Stage(_cut, patches, ("patches.zarr",), None, _STORE, ("sample", "tissue and alignment")),
    "PanNuke": Stage(
        _import_pannuke,
        _pannuke,
        ("patches.zarr", "manual.parquet"),
        _make_pannuke,
        {
            f"PanNuke.inputs/pannuke/fold_1/{name}": False
            for name in ("images/fold1/types.npy", "masks/fold1/masks.npy")
        },
    ),  # fmt: skip
    "published sample": Stage(_publish, _sample, ("sample.zarr",), None, _STORE, ("sample", "clusters", "labels")),
}
