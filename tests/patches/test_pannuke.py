"""PanNuke's folds: every nucleus, in the class of the channel that lies on top, from every file layout."""

import shutil

import numpy as np
import pandas as pd
import pytest

from stnuclei.errors import UserError
from stnuclei.patches import PatchStore, import_pannuke, patch_classes
from stnuclei.patches.pannuke import merge_channels


def write_fold(folder, images, masks, types, fold=1, name="fold_1", suffix=".npy"):
    for part, content in (("images", images), ("masks", masks)):
        place = folder / name / part / f"fold{fold}"
        place.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            np.save(place / f"{part}.npy", content)
        else:
            np.savez_compressed(place / f"{part}.npz", **{part: content})
    np.save(folder / name / "images" / f"fold{fold}" / "types.npy", types)


@pytest.fixture
def fold():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 256, 256, 3)).astype(np.float64)
    masks = np.zeros((5, 256, 256, 6))
    masks[..., 5] = 1
    masks[0, 10:20, 10:20, 0] = 1
    masks[0, 15:25, 15:25, 2] = 1  # the later channel lies on top
    masks[0, 100:110, 100:110, 3] = 7
    masks[1, 30:40, 30:40, 1] = 4
    masks[1, 30:40, 30:40, 4] = 9  # wholly covers it
    types = np.array(["Breast", "Colon", "Colon", "HeadNeck", "Breast"], dtype="<U13")
    return images, masks, types


def imported(folder, tmp_path, fold=1):
    counts = import_pannuke(folder, fold, tmp_path / "p.zarr", tmp_path / "labels" / "manual.parquet", "pannuke")
    return PatchStore(tmp_path / "p.zarr"), pd.read_parquet(tmp_path / "labels" / "manual.parquet"), counts


@pytest.mark.parametrize("name", ["fold_1", "Fold 1"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_channels_become_nuclei_with_classes(fold, tmp_path, name, suffix):
    images, masks, types = fold
    write_fold(tmp_path / "in", images, masks, types, name=name, suffix=suffix)
    store, labels, counts = imported(tmp_path / "in", tmp_path)
    assert np.array_equal(store.image[:], images.astype(np.uint8))
    assert labels["label"].tolist() == ["Neoplastic", "Connective", "Dead", "Epithelial"]
    assert labels.dtypes.astype(str).tolist() == ["object", "object", "float32", "int32", "object"]
    assert (labels["confidence"] == 1).all()
    assert (labels["cluster"] == -1).all()
    assert labels["cell_id"].is_unique
    assert np.diff(store.offset).tolist() == [3, 1, 0, 0, 0]
    assert [(store.instances[0] == k).sum() for k in (1, 2, 3)] == [75, 100, 100]
    assert counts["nuclei_covered"] == 1
    assert counts["by_class"] == {"Neoplastic": 1, "Inflammatory": 0, "Connective": 1, "Dead": 1, "Epithelial": 1}
    assert [store.tissues[t] for t in store.tissue] == types.tolist()
    assert patch_classes(store, tmp_path / "labels" / "manual.parquet", "pannuke").tolist() == [1, 3, 4, 5]


def test_ids_of_two_channels_may_be_equal():
    mask = np.zeros((16, 16, 6))
    mask[0:3, 0:3, 0] = 5
    mask[8:10, 8:10, 4] = 5
    labels, channel, ids = merge_channels(mask)
    assert channel.tolist() == [0, 4]
    assert ids.tolist() == [5, 5]
    assert np.bincount(labels.ravel()).tolist() == [256 - 13, 9, 4]


def test_the_shipped_folds(shared, tmp_path):
    folder = shared / "data" / "pannuke_like"
    index = pd.read_csv(folder / "index.csv")
    for fold in (1, 2, 3):
        store, labels, counts = imported(folder, tmp_path, fold)
        own = index[index["fold"] == fold]
        assert len(store) == len(own) == 27
        images = np.load(folder / f"fold_{fold}/images/fold{fold}/images.npz")["images"]
        assert np.array_equal(store.image[:], images)
        assert store.tissues == ["Colon"]
        expected = own[["Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial"]].sum()
        assert counts["by_class"] == expected.to_dict()
        assert len(labels) == expected.sum() - counts["nuclei_covered"]
        masks = np.load(folder / f"fold_{fold}/masks/fold{fold}/masks.npz")["masks"]
        assert np.array_equal(store.instances[:] > 0, (masks[..., :5] > 0).any(-1))


def test_real_patches_keep_their_instances(shared, tmp_path):
    from scipy.io import loadmat

    folder = shared / "data" / "pannuke_3patches_and_types"
    mats = [loadmat(folder / "masks" / f"patch{k}.mat") for k in (1, 2, 3)]
    masks = np.zeros((3, 256, 256, 6))
    for mask, mat in zip(masks, mats, strict=True):
        for channel in range(5):
            mask[..., channel] = np.where(mat["type_map"] == channel + 1, mat["inst_map"], 0)
    types = np.load(folder / "types_split1.npy")[:3]
    assert types.dtype == np.dtype("<U13")
    write_fold(tmp_path / "in", np.zeros((3, 256, 256, 3)), masks, types)
    store, labels, _ = imported(tmp_path / "in", tmp_path)
    assert len(labels) == 125
    for i, mat in enumerate(mats):
        joint = np.unique(np.stack([mat["inst_map"].ravel(), store.instances[i].ravel()]), axis=1)
        assert len(joint[0]) == len(np.unique(joint[0])) == len(np.unique(joint[1]))  # one to one
        assert np.array_equal(np.append(0, patch_classes(store, tmp_path / "labels/manual.parquet", "pannuke")[
            store.offset[i] : store.offset[i + 1]])[store.instances[i]], mat["type_map"])  # fmt: skip


def test_files_that_are_not_pannukes(fold, tmp_path):
    images, masks, types = fold
    good = tmp_path / "good"
    write_fold(good, images, masks, types)

    def told(change, words, fold=1):
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        change(folder / "fold_1")
        with pytest.raises(UserError, match=words):
            imported(folder, tmp_path, fold)
        assert not (tmp_path / "p.zarr").exists()
        assert not (tmp_path / "labels" / "manual.parquet").exists()

    told(lambda f: None, "fold 2 has no images.npy", fold=2)
    told(lambda f: (f / "masks/fold1/masks.npy").unlink(), "no masks.npy")
    told(lambda f: np.save(f / "masks/fold1/masks.npy", masks[:4]), "masks.npy: has shape")
    told(lambda f: np.save(f / "images/fold1/types.npy", types[:2]), "2 tissues for 5")
    told(lambda f: np.save(f / "images/fold1/images.npy", images / 255), "between 0 and 1")
    told(lambda f: np.save(f / "images/fold1/images.npy", images * 2), "outside 0 to 255")
    told(lambda f: (f / "images/fold1/images.npy").write_bytes(b"x" * 100), "cannot be read")

    def cut_short(f):
        path = f / "masks/fold1/masks.npy"
        path.write_bytes(path.read_bytes()[:-1000])

    told(cut_short, "masks.npy: ends or is damaged")


def test_some_tissues_of_a_fold_in_any_spelling(fold, tmp_path):
    write_fold(tmp_path / "in", *fold)
    out = (tmp_path / "p.zarr", tmp_path / "manual.parquet")
    import_pannuke(tmp_path / "in", 1, *out, "pannuke", tissues=["Head and neck", "colon"])
    store, labels = PatchStore(out[0]), pd.read_parquet(out[1])
    assert np.array_equal(store.image[:], fold[0][[1, 2, 3]].astype(np.uint8))
    assert [store.tissues[t] for t in store.tissue] == ["Colon", "Colon", "HeadNeck"]
    assert labels["cell_id"].tolist() == ["fold1_1_Epithelial_9"]  # named as in the whole fold
    with pytest.raises(UserError, match=r"PanNuke's fold 1: has no tissue Colom; did you mean 'Colon'\?"):
        import_pannuke(tmp_path / "in", 1, *out, "pannuke", tissues=["Colom"])


@pytest.mark.parametrize(
    ("content", "words"), [("npz", ""), ("object", "without pickle"), ("two", "holds the arrays a, b")]
)
def test_tissues_of_other_files(fold, tmp_path, content, words):
    images, masks, types = fold
    write_fold(tmp_path / "in", images, masks, types)
    place = tmp_path / "in" / "fold_1" / "images" / "fold1"
    if content == "object":
        np.save(place / "types.npy", types.astype(object), allow_pickle=True)
    else:
        (place / "types.npy").unlink()
        np.savez(place / "types.npz", **({"a": types} if content == "npz" else {"a": types, "b": types}))
    if not words:
        import_pannuke(tmp_path / "in", 1, tmp_path / "p.zarr", tmp_path / "l.parquet")
        assert PatchStore(tmp_path / "p.zarr").tissues
        return
    with pytest.raises(UserError, match=words):
        import_pannuke(tmp_path / "in", 1, tmp_path / "p.zarr", tmp_path / "l.parquet")
