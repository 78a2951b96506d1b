"""Shapes, architecture, expression and the PanNuke-like set."""

import numpy as np
import pandas as pd
import pytest

from stnuclei.errors import UserError
from stnuclei.resources import resource
from stnuclei.simulate import grow_tissue, simulate_pannuke
from stnuclei.simulate.nuclei import STYLES, Nucleus, draw_nucleus
from stnuclei.simulate.organs import ORGANS
from stnuclei.simulate.panel import draw_counts, panel, profiles, programmes


@pytest.fixture(scope="module")
def breast():
    return grow_tissue("Breast", (300.0, 300.0), 1)


def area(ring):
    x, y = ring.T
    return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def test_outline_of_an_ellipse_is_the_ellipse():
    nucleus = Nucleus(10, 20, 5, 2, 0.7, 0.0, (), 1.0, "Tumour", "tumour")
    ring = nucleus.outline(200)
    assert area(ring) == pytest.approx(np.pi * 10, rel=1e-3)
    relative, inside = nucleus.depth(*ring.T)
    assert np.allclose(relative, 1) and np.allclose(inside, 0, atol=1e-9)
    assert nucleus.depth(np.array([10.0]), np.array([20.0]))[0][0] == 0
    along = np.array([10 + 4 * np.cos(0.7), 20 + 4 * np.sin(0.7)])
    assert nucleus.depth(along[:1], along[1:])[1][0] == pytest.approx(1.0, abs=1e-6)


def test_bent_outline_agrees_with_depth():
    nucleus = draw_nucleus(0, 0, 1.1, "Fibroblast", "spindle", np.random.default_rng(2))
    relative, _ = nucleus.depth(*nucleus.outline(90).T)
    assert np.allclose(relative, 1, atol=1e-9)


def test_classes_differ_in_size_and_shape(breast):
    size, ratio, classes = (
        np.array([area(n.outline(40)) for n in breast.nuclei]),
        np.array([n.width / n.length for n in breast.nuclei]),
        np.array(breast.classes()),
    )
    median = {name: np.median(size[classes == name]) for name in set(classes)}
    assert median["Neoplastic"] > 1.4 * median["Epithelial"] and median["Epithelial"] > 0.9 * median["Inflammatory"]
    spread = {name: size[classes == name].std() / size[classes == name].mean() for name in set(classes)}
    assert spread["Neoplastic"] > spread["Inflammatory"] * 0.9
    assert np.median(ratio[classes == "Connective"]) < 0.4 < 0.8 < np.median(ratio[classes == "Inflammatory"])
    assert STYLES["lymphocyte"].density > 1.5 * STYLES["tumour"].density


def test_nuclei_hardly_overlap_and_lie_in_the_tissue(breast):
    from shapely import Polygon, STRtree

    rings = [Polygon(n.outline(30)).buffer(0) for n in breast.nuclei]
    tree = STRtree(rings)
    first, second = tree.query(rings, predicate="intersects")
    shared = sum(rings[a].intersection(rings[b]).area for a, b in zip(first, second, strict=True) if a < b)
    assert shared < 0.02 * sum(ring.area for ring in rings)
    inside = breast.plan.maps["tissue"]
    assert all(inside[int(n.y / 0.5), int(n.x / 0.5)] > 0 for n in breast.nuclei)


def test_tissue_is_its_seed():
    one, two, other = (grow_tissue("Colon", (150.0, 150.0), seed) for seed in (7, 7, 8))
    assert one.nuclei == two.nuclei != other.nuclei


@pytest.mark.parametrize("name", ORGANS)
def test_panels_are_of_the_size_of_real_ones_and_known_to_hgnc(name):
    genes = panel(ORGANS[name])
    assert 250 <= len(genes) <= 330
    approved = set(pd.read_csv(resource("markers", "hgnc_symbols.tsv.gz"), sep="\t").iloc[:, 0])
    assert [gene for gene in genes if gene not in approved] == []


@pytest.mark.parametrize("name", ORGANS)
def test_every_type_has_a_profile_of_its_own(name):
    types, genes, matrix = profiles(ORGANS[name])
    assert matrix.shape == (len(types), len(genes)) and np.allclose(matrix.sum(axis=1), 1)
    members = programmes(ORGANS[name])
    share = {
        kind: matrix[types.index(kind)][np.isin(genes, members["epithelial"] + members["tumour"])].sum()
        for kind in types
    }
    assert share["Tumour"] > 0.5 > 0.1 > share["CD4 T cell"]
    assert share["Fibroblast"] < 0.1
    for names, _, _ in [(entry[0], *entry[1:]) for entry in ORGANS[name].epithelium]:
        assert 0.02 < share[names] < 0.35


def test_counts_vary_more_than_poisson_and_some_cells_are_empty():
    rng = np.random.default_rng(0)
    types = ["Tumour"] * 4000
    counts, genes = draw_counts(ORGANS["Breast"], types, rng.uniform(0, 500, (4000, 2)), rng)
    assert counts.dtype == np.int32 and counts.shape == (4000, len(genes))
    total = counts.sum(axis=1).A1
    assert 0.01 < (total == 0).mean() < 0.035
    loud = counts[:, genes.index("EPCAM")].toarray().ravel()
    assert loud.var() > 2 * loud.mean()


def test_pannuke_set_has_the_original_layout(tmp_path):
    made = simulate_pannuke(tmp_path / "pannuke", 2, patches_per_fold=2, folds=2, tissues=("Breast", "Colon"))
    assert made == {"fold1": 2, "fold2": 2}
    dead = 0
    for fold in (1, 2):
        images = np.load(tmp_path / "pannuke" / f"fold_{fold}" / "images" / f"fold{fold}" / "images.npy", mmap_mode="r")
        types = np.load(tmp_path / "pannuke" / f"fold_{fold}" / "images" / f"fold{fold}" / "types.npy")
        masks = np.load(tmp_path / "pannuke" / f"fold_{fold}" / "masks" / f"fold{fold}" / "masks.npy", mmap_mode="r")
        assert (
            images.shape == (2, 256, 256, 3) and images.dtype == np.float64 and 0 <= images.min() < images.max() <= 255
        )
        assert masks.shape == (2, 256, 256, 6) and masks.dtype == np.float64 and types.dtype.kind == "U"
        assert list(types) == ["Breast", "Colon"]
        # Background is where no channel holds a nucleus, and no pixel is of two classes.
        assert ((masks[..., :5] > 0).sum(axis=-1) + masks[..., 5] == 1).all()
        dead += (masks[..., 3] > 0).sum()
    assert dead > 0
    assert not np.array_equal(
        np.load(tmp_path / "pannuke" / "fold_1" / "images" / "fold1" / "images.npy"),
        np.load(tmp_path / "pannuke" / "fold_2" / "images" / "fold2" / "images.npy"),
    )


def test_pannuke_refuses_what_it_cannot_make(tmp_path):
    with pytest.raises(UserError, match="Kidney"):
        simulate_pannuke(tmp_path / "p", 0, tissues=("Moon",))
    with pytest.raises(UserError, match="1 or more"):
        simulate_pannuke(tmp_path / "p", 0, patches_per_fold=0)
