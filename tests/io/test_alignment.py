"""Alignment files of every kind, and the pixel size they imply."""

import zipfile

import bundle
import numpy as np
import pandas as pd
import pytest

from paths import DATA
from stnuclei.errors import UserError
from stnuclei.io import read_sample
from stnuclei.io.alignment import Alignment, apply, read_alignment
from stnuclei.io.boundaries import NucleusBoundaries
from stnuclei.io.check_nuclei import check_nuclei
from stnuclei.io.pixel_size import settle

UM = 0.2125
MATRIX = bundle.MATRIX
HEADER = "fixedX,fixedY,alignmentX,alignmentY"


def keypoints(n=6, noise=0.0, seed=0, matrix=MATRIX):
    rng = np.random.default_rng(seed)
    moving = rng.uniform(0, 4000, (n, 2))
    fixed = apply(matrix, moving) + rng.normal(0, noise, (n, 2))
    rows = [",".join(f"{value:.6f}" for value in (*one, *other)) for one, other in zip(fixed, moving, strict=True)]
    return "\n".join([HEADER, *rows]) + "\n"


def matrix_text(matrix=MATRIX, delimiter=","):
    return "\n".join(delimiter.join(f"{value:.10f}" for value in row) for row in matrix)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_matrix_however_it_is_written(tmp_path, delimiter, start):
    path = tmp_path / "x.csv"
    path.write_text(start + matrix_text(delimiter=delimiter) + "\r\n\n")
    found = read_alignment(path, UM)
    assert found.kind == "matrix" and np.allclose(found.matrix, MATRIX)
    assert found.um_per_px(UM) == pytest.approx(0.25) and not found.mirrored


def test_keypoints_use_all_points_and_tell_the_residual(tmp_path):
    path = tmp_path / "x_he_imagealignment.csv"  # downloads name keypoints like matrices
    path.write_text(keypoints())
    found = read_alignment(path, UM)
    assert found.kind == "keypoints" and found.info["keypoints"] == 6 and found.info["rms_residual_px"] < 1e-5
    assert np.allclose(found.matrix, MATRIX, atol=1e-4)
    path.write_text(keypoints(n=40, noise=3.0))
    rough = read_alignment(path, UM)
    assert rough.info["rms_residual_px"] == pytest.approx(3 * np.sqrt(2), rel=0.25)
    # Three points of the forty, as HEST takes them, are much worse than all.
    path.write_text("\n".join(keypoints(n=40, noise=3.0).splitlines()[:4]))
    three = read_alignment(path, UM)
    middle = np.array([[2000.0, 2000.0], [0.0, 4000.0]])
    truth = apply(MATRIX, middle)
    errors = [np.linalg.norm(apply(one.matrix, middle) - truth, axis=1).max() for one in (rough, three)]
    assert errors[0] < 3.0 and errors[0] < errors[1]


@pytest.mark.parametrize("inside", ["matrix.csv", "export/keypoints.csv", "both"])
def test_explorers_zip(tmp_path, inside):
    path = tmp_path / "alignment.zip"
    with zipfile.ZipFile(path, "w") as archive:
        if inside != "export/keypoints.csv":
            archive.writestr("matrix.csv", matrix_text())
        if inside != "matrix.csv":
            archive.writestr("export/keypoints.csv", keypoints())
    found = read_alignment(path, UM)
    assert found.kind == "zip" and np.allclose(found.matrix, MATRIX, atol=1e-4)
    assert ("rms_residual_px" in found.info) == (inside != "matrix.csv")


def test_identity_only_when_said():
    assert np.array_equal(read_alignment("identity", UM).matrix, np.eye(3))


def test_real_matrix_turned_by_a_right_angle():
    folder = DATA / "xenium_tables" / "he_alignment"
    found = read_alignment(next(folder.glob("*imagealignment.csv")), UM)
    assert found.um_per_px(UM) == pytest.approx(0.136853, rel=1e-4)  # HEST-1k lists this for TENX117


def test_a_mirrored_slide_is_told(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(matrix_text(MATRIX @ np.diag([-1, 1, 1]) + [[0, 0, 0], [0, 0, 900], [0, 0, 0]]))
    assert read_alignment(path, UM).mirrored


def test_every_kind_ends_in_the_same_nuclei(good_bundle, tmp_path):
    first = read_sample("xenium", good_bundle, checksums=False)
    path = tmp_path / "points.csv"
    path.write_text(keypoints(n=8))
    again = read_sample("xenium", good_bundle, he_alignment=path, checksums=False)
    assert np.allclose(first.nuclei.total_bounds, again.nuclei.total_bounds, atol=1e-3)
    assert again.provenance["alignment"]["keypoints"] == 8


# --- pixel size ----------------------------------------------------------------------------------------------------


def test_sizes_within_two_percent_agree():
    size, record = settle(0.2738, "alignment", {"slide OME": 0.2737, "slide MPP": 0.2710})
    assert size == 0.2738 and record["stated"]["slide MPP"] == 0.2710


def test_sizes_apart_stop_with_both_numbers_and_the_setting():
    with pytest.raises(UserError, match=r"0.2738 by alignment, 0.2125 by slide OME.* 22.4 % apart.* he_um_per_px"):
        settle(0.2738, "alignment", {"slide OME": 0.2125})


@pytest.mark.parametrize("chosen", [0.2738, 0.2125])
def test_the_users_choice_settles_it(chosen):
    size, record = settle(0.2738, "alignment", {"slide OME": 0.2125}, chosen=chosen)
    assert size == chosen and record["chosen"] == chosen


def test_a_choice_near_no_number_is_refused():
    with pytest.raises(UserError, match="he_um_per_px: 0.5 is near none"):
        settle(0.2738, "alignment", {"slide OME": 0.2125}, chosen=0.5)


def test_the_tolerance_is_the_users():
    settle(0.25, "alignment", {"slide": 0.2625}, tolerance=0.06)
    with pytest.raises(UserError, match=r"5\.0 % apart"):
        settle(0.25, "alignment", {"slide": 0.2625}, tolerance=0.04)


def test_a_bundle_whose_slide_states_another_size_stops(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run")
    bundle.write_he(folder / "test_he_image.ome.tif", um=0.2737)
    with pytest.raises(
        UserError, match=r"sample s: the H&E pixel size is not sure: 0.2500 by alignment .*0.2737 by .*OME"
    ):
        read_sample("xenium", folder, sample="s")
    assert read_sample("xenium", folder, he_um_per_px=0.25).um_per_px == 0.25


def exchanged(path, scale):
    """Keypoints whose fixed and moving columns are exchanged; the true scale is H&E px to morphology px."""
    moving = np.random.default_rng(0).uniform(0, 4000, (8, 2))
    fixed = moving * scale + 50
    names = ["fixedX", "fixedY", "alignmentX", "alignmentY"]
    pd.DataFrame(np.hstack([moving, fixed]), columns=names).to_csv(path, index=False)
    return path


def test_an_inverted_matrix_and_exchanged_keypoints_are_named(tmp_path):
    # A slide of 1.5 um/px; the other way round its pixels would be 0.03 um.
    scale = 1.5 / 0.2125
    with pytest.raises(UserError, match="fixed and moving keypoints are exchanged: swap fixedX"):
        read_alignment(exchanged(tmp_path / "k.csv", scale), 0.2125)
    np.savetxt(tmp_path / "m.csv", np.diag([1 / scale, 1 / scale, 1]), delimiter=",")
    with pytest.raises(UserError, match="goes from morphology px to H&E px: give its inverse"):
        read_alignment(tmp_path / "m.csv", 0.2125)


def test_nuclei_beside_the_slide_are_tried_the_other_way_round(good_bundle):
    sample = read_sample("xenium", good_bundle, checksums=False)
    shift = np.array([[1.0, 0, 5000], [0, 1, 5000], [0, 0, 1]])
    nuclei = sample.nuclei.set_geometry(sample.nuclei.geometry.translate(10_000, 10_000))
    boundaries = NucleusBoundaries.of_frame(nuclei)
    with pytest.raises(UserError, match="the other way round it puts 100 % on it: the matrix goes from morphology px"):
        check_nuclei(
            "a.csv",
            sample.he,
            boundaries,
            0.25,
            "?",
            Alignment(np.linalg.inv(shift), "matrix", {}),
        )
    with pytest.raises(UserError, match="100 % of the nuclei outside .*; it must fit"):
        check_nuclei("a.csv", sample.he, boundaries, 0.25, "it must fit", Alignment(shift, "matrix", {}))


def test_a_slide_that_states_the_inverses_pixel_size_names_the_inverse(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run")
    alignment = next(folder.glob("*alignment.csv"))
    np.savetxt(alignment, np.linalg.inv(bundle.MATRIX), delimiter=",")
    bundle.write_he(folder / "test_he_image.ome.tif", um=0.25)
    with pytest.raises(
        UserError, match="not sure.*the other way round it would agree: the matrix goes from morphology"
    ):
        read_sample("xenium", folder, checksums=False)
