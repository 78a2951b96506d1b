"""The simulated H&E scan: it lies on the DAPI image by its matrix, and looks stained."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.draw import polygon

from stnuclei.simulate import simulate_sample

PIXEL = 0.2125


def he(slide):
    with tifffile.TiffFile(slide / f"{slide.name}_he_image.ome.tif") as file:
        return file.series[0].levels[0].asarray()


def matrix_of(slide):
    return np.loadtxt(slide / f"{slide.name}_he_imagealignment.csv", delimiter=",")


def haematoxylin(rgb):
    """Red's optical density: haematoxylin takes red light, eosin hardly any."""
    return -np.log(np.maximum(rgb[..., 0].astype(np.float64), 1) / 245)


def in_he(slide):
    """Nucleus polygons in H&E px."""
    back = np.linalg.inv(matrix_of(slide))
    table = pd.read_parquet(slide / "nucleus_boundaries.parquet")
    key = "label_id" if "label_id" in table else "cell_id"
    for _, rows in table.groupby(key, sort=False):
        xy = rows[["vertex_x", "vertex_y"]].to_numpy(np.float64) / PIXEL
        yield xy @ back[:2, :2].T + back[:2, 2]


def test_pyramid_and_pixel_size_are_in_the_file(slide):
    with tifffile.TiffFile(slide / f"{slide.name}_he_image.ome.tif") as file:
        assert file.is_ome and file.pages[0].is_tiled
        assert len(file.series[0].levels) >= 2
        assert f'PhysicalSizeX="{0.2738 if slide.name == "xoa1" else 0.25}"' in file.ome_metadata


def test_matrix_turns_and_scales(slide):
    matrix = matrix_of(slide)
    scale = np.hypot(matrix[0, 1], matrix[1, 1])
    assert scale * PIXEL == pytest.approx(0.2738 if slide.name == "xoa1" else 0.25, rel=1e-9)
    assert np.linalg.det(matrix[:2, :2]) == pytest.approx(scale**2)
    angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    assert 87 < angle < 93 and abs(angle - 90) > 0.01


def test_nuclei_are_darker_than_their_surroundings(slide):
    density = haematoxylin(he(slide))
    inside, ring = [], []
    for xy in in_he(slide):
        centre = xy[:-1].mean(axis=0)
        small, large = ([centre + (xy - centre) * factor] for factor in (0.85, 1.7))
        masks = [np.stack(polygon(p[:, 1] - 0.5, p[:, 0] - 0.5, density.shape)) for (p,) in (small, large)]
        inside.append(density[tuple(masks[0])].mean())
        ring.append(np.median(density[tuple(masks[1])]))
    assert np.mean(np.array(inside) > np.array(ring)) > 0.9
    assert np.median(inside) > 0.35


def test_any_other_alignment_is_worse(slide):
    density = haematoxylin(he(slide))

    def contrast(dx, dy):
        values = []
        for xy in in_he(slide):
            x, y = (xy[:-1].mean(axis=0) + [dx, dy]).astype(int)
            if 0 <= y < density.shape[0] and 0 <= x < density.shape[1]:
                values.append(density[y, x])
        return np.mean(values)

    straight = contrast(0, 0)
    assert all(straight > 1.2 * contrast(dx, dy) for dx, dy in ((25, 0), (-25, 0), (0, 25), (0, -25)))


def test_wanted_misalignment_is_in_the_file_alone(tmp_path):
    for name, shift in (("a", (0.0, 0.0)), ("b", (4.25, -2.125))):
        simulate_sample(tmp_path / name / "s", "Kidney", 1, size_um=(120.0, 120.0), misalignment_um=shift)
    right, wrong = matrix_of(tmp_path / "a" / "s"), matrix_of(tmp_path / "b" / "s")
    assert np.allclose(wrong - right, [[0, 0, 20], [0, 0, -10], [0, 0, 0]], atol=1e-9)
    assert np.array_equal(he(tmp_path / "a" / "s"), he(tmp_path / "b" / "s"))


def test_dapi_shines_in_the_same_nuclei(slide):
    new = slide / "morphology_focus" / "morphology_focus_0000.ome.tif"
    dapi = tifffile.imread(new if new.exists() else slide / "morphology_focus.ome.tif", level=0).astype(float)
    table = pd.read_parquet(slide / "nucleus_boundaries.parquet")
    key = "label_id" if "label_id" in table else "cell_id"
    centres = table.groupby(key)[["vertex_x", "vertex_y"]].mean().to_numpy() / PIXEL
    bright = dapi[centres[:, 1].astype(int), centres[:, 0].astype(int)]
    assert dapi.dtype.kind == "f" and np.median(bright) > 4 * np.median(dapi)


def test_slide_has_tissue_and_white_border(slide):
    image = he(slide)
    white = image.min(axis=2) > 215
    assert 0.15 < white.mean() < 0.75
    assert white[:20].mean() > 0.98 and white[:, -20:].mean() > 0.98
    tissue = image[~white].astype(float)
    # Pink: red above blue or about it, green the lowest of all.
    assert tissue[:, 1].mean() < tissue[:, 2].mean() and tissue[:, 1].mean() < tissue[:, 0].mean()


def test_truth_instances_fit_the_polygons(slide):
    instances = tifffile.imread(slide.parent / "truth" / slide.name / "instances.tif")
    nuclei = pd.read_parquet(slide.parent / "truth" / slide.name / "nuclei.parquet")
    assert instances.max() <= len(nuclei)
    assert nuclei.cell_id.isna().mean() < 0.05
    overlaps = []
    for xy in in_he(slide):
        rows, columns = polygon(xy[:, 1] - 0.5, xy[:, 0] - 0.5, instances.shape)
        ids, counts = np.unique(instances[rows, columns], return_counts=True)
        best = ids[counts.argmax()]
        union = len(rows) + (instances == best).sum() - counts.max() if best else len(rows)
        overlaps.append(counts.max() / union if best else 0)
    assert np.median(overlaps) > 0.85
