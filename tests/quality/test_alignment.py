"""The alignment check on real H&E with known errors put into it."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from quality.changed_samples import moved, turn, with_pixels
from stnuclei.cli.draw_alignment import oriented, write_repaired
from stnuclei.errors import UserError
from stnuclei.io.alignment import apply
from stnuclei.quality import check_alignment, draw_alignment, load_correction
from stnuclei.quality.shift import Correlator, transform


def test_good_samples_pass(hest, hest_tissue, breast, breast_tissue):
    for sample, tissue in ((hest, hest_tissue), (breast, breast_tissue)):
        report = check_alignment(sample, tissue)
        assert report.passed and np.hypot(*report.shift_px) < 0.3 and report.darker_fraction > 0.97
        assert report.contrast > 0.05 and np.array_equal(report.correction, np.eye(3))
        assert "nuclei lie on nuclei" in report.message


@pytest.mark.parametrize("shift", [(-13.0, 21.0), (100.0, 60.0), (3.3, -2.7)])
def test_a_shift_is_recovered_within_one_pixel(hest, hest_tissue, shift):
    report = check_alignment(moved(hest, np.eye(2), shift), hest_tissue)
    assert np.abs(np.array(report.shift_px) + shift).max() < 0.5
    assert np.allclose(np.array(report.shift_um), np.array(report.shift_px) * 0.25)
    assert report.passed == (np.hypot(*shift) * 0.25 <= 2.0)
    if not report.passed:
        assert f"{np.hypot(*report.shift_um):.2f} um beside" in report.message


def test_the_limit_is_the_users(hest, hest_tissue):
    sample = moved(hest, np.eye(2), (12.0, 0.0))
    assert not check_alignment(sample, hest_tissue).passed
    assert check_alignment(sample, hest_tissue, max_shift_um=4.0).passed


@pytest.mark.parametrize("degrees", [0.4, -1.0])
def test_a_small_turn_is_told_and_its_angle_found(breast, breast_tissue, degrees):
    report = check_alignment(moved(breast, turn(degrees)), breast_tissue)
    assert not report.passed
    assert report.details["affine"]["rotation_deg"] == pytest.approx(-degrees, abs=0.25)
    assert "turned by" in report.message


@pytest.mark.parametrize(
    ("linear", "words"),
    [
        ([[-1, 0], [0, 1]], "mirrored left to right"),
        ([[1, 0], [0, -1]], "mirrored left to right and turned by 180 degrees"),
        ([[0, -1], [1, 0]], "turned by -90 degrees"),
        ([[0, 1], [1, 0]], "mirrored left to right and turned by"),
        ("5 degrees", "turned by -5 degrees"),
    ],
)
def test_large_turns_and_mirrors_fail_and_are_named(hest, hest_tissue, linear, words):
    linear = turn(5) if isinstance(linear, str) else np.array(linear, float)
    report = check_alignment(moved(hest, linear), hest_tissue)
    assert not report.passed and "do not lie on the slide's nuclei" in report.message
    assert f"they would fit {words}" in report.message
    # What it proposes undoes the error.
    whole = np.array(report.details["orientation"]["matrix"])[:2, :2] @ linear
    assert np.allclose(whole, np.eye(2), atol=0.01)


def test_another_slide_fails_and_no_turn_is_invented(hest, hest_tissue, breast):
    import dataclasses

    other = dataclasses.replace(hest, nuclei=breast.nuclei)
    report = check_alignment(other, hest_tissue)
    assert not report.passed and "is it the H&E of this run?" in report.message


def test_shuffled_nuclei_fail(shared, hest, hest_tissue):
    """Nuclei thrown about at random on the tissue: no shift may be claimed."""
    import dataclasses

    import shapely

    rng = np.random.default_rng(3)
    geometry = hest.nuclei.geometry.to_numpy()
    centre = shapely.get_coordinates(shapely.centroid(geometry))
    jumps = rng.uniform((0, 0), (3300, 2240), centre.shape) - centre
    thrown = np.array([shapely.transform(one, lambda xy, d=d: xy + d) for one, d in zip(geometry, jumps, strict=True)])
    report = check_alignment(dataclasses.replace(hest, nuclei=hest.nuclei.set_geometry(thrown)), hest_tissue)
    assert not report.passed and abs(report.darker_fraction - 0.5) < 0.1


def test_too_few_nuclei_are_not_judged(hest, hest_tissue):
    import dataclasses

    report = check_alignment(dataclasses.replace(hest, nuclei=hest.nuclei.iloc[:20]), hest_tissue)
    assert not report.passed and "too few" in report.message


def test_refinement_writes_the_correction(shared, breast, breast_tissue, tmp_path):
    for refine, linear in (("translation", 0.0), ("affine", 1.0)):
        check_refinement(breast, breast_tissue, tmp_path, refine, linear)


def check_refinement(breast, breast_tissue, tmp_path, refine, linear):
    shift = np.array([-13.0, 21.0])
    report = check_alignment(moved(breast, turn(linear), shift), breast_tissue, refine=refine)
    assert report.passed and "after correction" in report.message
    report.save_json(tmp_path / "a.json")
    correction = load_correction(tmp_path / "a.json")
    middle = np.array(breast.he.shape[1::-1]) / 2
    corners = np.array([[200.0, 200.0], [4000.0, 300.0], [2000.0, 3000.0]])
    displaced = (corners - middle) @ turn(linear).T + middle + shift
    back = displaced @ correction[:2, :2].T + correction[:2, 2]
    assert np.abs(back - corners).max() < (1.0 if linear == 0 else 4.0)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["details"]["after_correction"]["darker_fraction"] > 0.95
    if linear == 0:
        assert np.abs(np.array(content["shift_px"]) + shift).max() < 0.5


def test_a_blurred_or_pale_slide_still_aligns(hest, hest_tissue):
    pixels = hest.he[:]
    pale = (255 - (255 - pixels.astype(np.float32)) * 0.4).astype(np.uint8)
    for changed in (cv2.GaussianBlur(pixels, (0, 0), 3.0), pale):
        sample = moved(with_pixels(hest, changed), np.eye(2), (12.0, -8.0))
        report = check_alignment(sample, hest_tissue)
        assert np.abs(np.array(report.shift_px) + (12, -8)).max() < 1.0


def test_the_draw_of_tiles_is_the_seeds(breast, breast_tissue):
    one, same, other = (check_alignment(breast, breast_tissue, max_tiles=5, seed=seed).tiles for seed in (1, 1, 2))
    assert one.equals(same) and not one[["x", "y"]].equals(other[["x", "y"]])


def test_json_holds_what_people_need(hest, hest_tissue, tmp_path):
    check_alignment(hest, hest_tissue).save_json(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert {"sample", "passed", "message", "shift_um", "shift_px", "contrast", "correction", "tiles"} <= set(content)
    assert content["passed"] is True and len(content["tiles"]) == content["details"]["n_tiles"]


def test_picture(hest, hest_tissue, tmp_path):
    for name, sample in (("good", hest), ("bad", moved(hest, np.eye(2), (40, 0)))):
        draw_alignment(check_alignment(sample, hest_tissue), sample, hest_tissue, tmp_path / f"{name}.png")
    good, bad = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("good", "bad"))
    assert 900 < good.shape[0] < 1600 and 1200 < good.shape[1] < 1600
    assert good.std() > 30 and not np.array_equal(good, bad)
    outline = (np.abs(good.astype(int) - (0, 229, 255)).sum(axis=2) < 60).sum()
    assert outline > 3000


def test_wrong_settings_and_files_are_told(hest, hest_tissue, tmp_path):
    with pytest.raises(UserError, match="alignment.refine: 'warp' is none of none, translation, affine"):
        check_alignment(hest, hest_tissue, refine="warp")
    for content in (
        "",
        "{}",
        '{"correction": [[1, 2], [3, 4]]}',
        '{"correction": [["a", 0, 0], [0, 1, 0], [0, 0, 1]]}',
    ):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match="a.json"):
            load_correction(tmp_path / "a.json")


def test_shift_of_random_pictures_to_a_tenth_of_a_pixel():
    rng = np.random.default_rng(0)
    for x, y in ((0.0, 0.0), (3.0, -7.0), (12.5, 4.25), (-20.4, 0.6)):
        both = Correlator(256, coarse=12)
        for _ in range(4):
            field = cv2.GaussianBlur(rng.normal(size=(256, 256)).astype(np.float32), (0, 0), 2.0)
            shifted = cv2.warpAffine(field, np.float32([[1, 0, x], [0, 1, y]]), (256, 256), flags=cv2.INTER_CUBIC)
            alone = both.add(field, shifted)
            assert (alone.x, alone.y) == pytest.approx((x, y), abs=0.3)
        found = both.shift(40)
        assert (found.x, found.y) == pytest.approx((x, y), abs=0.1) and found.certainty > 20


def test_an_alignment_taken_the_wrong_way_round_is_named_and_repaired(hest, hest_tissue, tmp_path):
    """Nuclei placed by the inverse of the matrix; the correction brings them back, and the repaired file holds it."""
    middle = np.array(hest.he.shape[1::-1]) / 2
    quarter = np.eye(3)
    quarter[:2, :2] = [[0, -1], [1, 0]]
    quarter[:2, 2] = middle - quarter[:2, :2] @ middle
    # The true matrix is inverse(quarter); the file holds `quarter`, and the nuclei were moved by its inverse.
    nuclei = transform(hest.nuclei, np.linalg.inv(quarter @ quarter))
    wrong = dataclasses.replace(hest, nuclei=nuclei, he_to_morphology=quarter)
    report = check_alignment(wrong, hest_tissue)
    assert not report.passed and "with the alignment taken the other way round" in report.message
    repaired = oriented(report)
    write_repaired(wrong, repaired, tmp_path / "repaired.csv")
    matrix = np.loadtxt(tmp_path / "repaired.csv", delimiter=",")
    points = np.array([[100.0, 200.0], [900.0, 300.0]])
    assert np.abs(apply(matrix, points) - apply(np.linalg.inv(quarter), points)).max() < 4  # 1 um


def test_a_failed_check_says_which_refinement_corrects_it(hest, hest_tissue):
    report = check_alignment(moved(hest, np.eye(2), (20.0, 0.0)), hest_tissue)
    assert (
        not report.passed and "alignment.refine: translation corrects that (stnuclei draw-alignment" in report.message
    )
