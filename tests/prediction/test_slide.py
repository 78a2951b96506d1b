"""Segmentation of whole slides by a perfect network: each nucleus once, however a slide is tiled, stopped, drawn."""

import hashlib
import signal
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pytest
from scipy.spatial import cKDTree

from paths import ROOT
from prediction.conftest import HEIGHT, UM, WIDTH, centroids, write_slide
from prediction.oracle import Oracle, Wavering, ious
from stnuclei.errors import UserError
from stnuclei.files import locked
from stnuclei.io import NucleiFile
from stnuclei.prediction import segment_slide
from stnuclei.prediction import sweep as sweeping
from stnuclei.prediction import tiles as tiling


def run(slide, out, predictor=None, **options):
    """With a perfect network, everything searched."""
    options = {"tile": 512, "overlap": 64, "tissue": "whole", **options}
    return segment_slide(None, slide, out, predictor=predictor or Oracle(), **options)


def shapes(out):
    """The nuclei as a set of outlines, classes and areas."""
    frame = NucleiFile(out).read()
    return set(zip(frame.geometry.to_wkb(), frame["class"], frame["area_um2"].round(3), strict=True))


@pytest.fixture(scope="module")
def tiled(slide, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiled") / "out"
    return out, run(slide, out)


def test_every_nucleus_once(tiled, scene, drawn):
    out, counts = tiled
    nuclei = NucleiFile(out).read()
    iou, which = ious(drawn[1], nuclei.geometry)
    assert len(nuclei) == len(scene) == counts["nuclei"] == len(np.unique(which))
    assert iou.min() > 0.95 and iou.mean() > 0.98
    nuclei = nuclei.iloc[which]
    assert (nuclei["class_id"].to_numpy() == scene.kind).all() and (nuclei["class_probability"] > 0.9).all()
    assert np.abs(nuclei[["centroid_x", "centroid_y"]].to_numpy() - centroids(drawn[1])).max() < 0.7
    areas = np.bincount(drawn[1].ravel())[1:] * UM**2
    assert np.abs(nuclei["area_um2"] / areas - 1).max() < 0.02
    assert nuclei.geometry.is_valid.all() and np.abs(nuclei.area * UM**2 / nuclei["area_um2"] - 1).max() < 0.03


@pytest.mark.parametrize(("tile", "overlap"), [(2048, 0), (1024, 64), (384, 32)])
def test_one_piece_and_tiles_give_the_same_nuclei(tiled, slide, tmp_path, tile, overlap):
    counts = run(slide, tmp_path / "out", tile=tile, overlap=overlap)
    assert shapes(tmp_path / "out") == shapes(tiled[0])
    assert counts["tiles"] == -(-WIDTH // (tile - 2 * overlap)) * -(-HEIGHT // (tile - 2 * overlap))


def test_strips_threads_batches_and_devices_change_nothing(tiled, slide, tmp_path, monkeypatch):
    run(slide, tmp_path / "threads", [Oracle(), Oracle()], threads=3, batch_size=1)
    same = [hashlib.sha256((out / "nuclei.parquet").read_bytes()).digest() for out in (tmp_path / "threads", tiled[0])]
    assert same[0] == same[1]
    monkeypatch.setattr("stnuclei.prediction.run.TileGrid", lambda *a: tiling.TileGrid(*a, strip_px=700))
    assert len(tiling.TileGrid(WIDTH, HEIGHT, 512, 64, 700).strips()) == 3
    run(slide, tmp_path / "strips")
    assert shapes(tmp_path / "strips") == shapes(tiled[0])


@pytest.mark.parametrize("tile", [384, 512])
def test_a_network_that_sees_tiles_differently_loses_and_doubles_none(slide, drawn, scene, tmp_path, tile):
    run(slide, tmp_path / "out", Wavering(), tile=tile)
    nuclei = NucleiFile(tmp_path / "out").read()
    iou, which = ious(drawn[1], nuclei.geometry)
    assert len(nuclei) == len(np.unique(which)) == len(scene) and iou.min() > 0.5 and iou.mean() > 0.9
    core = tile - 128
    box = nuclei.bounds.to_numpy()
    crosses = (box[:, :2] // core != box[:, 2:] // core).any(1)[which]
    assert crosses.sum() > 100 and abs(iou[crosses].mean() - iou[~crosses].mean()) < 0.01


@pytest.mark.parametrize("um", [0.2125, 0.3638, 0.5])
def test_the_same_nuclei_at_every_pixel_size(tiled, scene, tmp_path, um):
    width, height = int(WIDTH * UM / um), int(HEIGHT * UM / um)
    image, labels = scene.draw(um, width, height)
    run(write_slide(tmp_path / "slide.tif", image, um), tmp_path / "out")
    nuclei, reference = NucleiFile(tmp_path / "out").read(), NucleiFile(tiled[0]).read()
    assert abs(len(nuclei) - len(reference)) <= 0.005 * len(reference)
    points, others = (f[["centroid_x", "centroid_y"]].to_numpy() * s for f, s in ((nuclei, um), (reference, UM)))
    distance, nearest = cKDTree(others).query(points)
    assert np.mean(distance < 0.5) > 0.99 and np.median(distance) < 0.1
    ratio = nuclei["area_um2"].to_numpy() / reference["area_um2"].to_numpy()[nearest]
    assert abs(np.median(ratio) - 1) < 0.02
    near = distance < 0.5
    assert (nuclei["class"].to_numpy() == reference["class"].to_numpy()[nearest])[near].mean() > 0.99
    iou, _ = ious(labels, nuclei.geometry)
    assert iou.mean() > 0.9 and np.mean(iou > 0.7) > 0.99


def test_killed_half_way_it_goes_on_to_the_same_result(tiled, slide, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="killed"):
        run(slide, out, Oracle(fail_after=31), batch_size=2)
    assert not out.exists() and (tmp_path / "out.partial").is_dir()
    again = Oracle()
    run(slide, out, again, batch_size=2)
    assert 0 < again.tiles < tiled[1]["tiles"]
    assert (out / "nuclei.parquet").read_bytes() == (tiled[0] / "nuclei.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert "nuclei" in capsys.readouterr().err


SLOWLY = """
import sys, time
sys.path[:0] = {paths!r}
from prediction.oracle import Oracle
from stnuclei.prediction import segment_slide
class Slow(Oracle):
    def tensors(self, images):
        time.sleep(0.1)
        return super().tensors(images)
segment_slide(None, {slide!r}, {out!r}, predictor=Slow(), tile=384, overlap=64, tissue="whole")
"""


def test_killed_by_the_system_it_goes_on(small, tmp_path):
    out = tmp_path / "out"
    paths = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]
    script = SLOWLY.format(paths=paths, slide=str(small[0]), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while not (tmp_path / "out.partial" / "part-0000-000000.parquet").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "nuclei.parquet").exists()
    for place in (out, tmp_path / "whole"):
        run(small[0], place, tile=384)
    assert (out / "nuclei.parquet").read_bytes() == (tmp_path / "whole" / "nuclei.parquet").read_bytes()


def test_what_is_there_is_not_made_again(tiled, slide):
    predictor = Oracle()
    counts = run(slide, tiled[0], predictor)
    assert predictor.tiles == 0 and counts["nuclei"] == tiled[1]["nuclei"]


def test_other_settings_begin_anew(small, tmp_path, capsys):
    with pytest.raises(RuntimeError, match="killed"):
        run(small[0], tmp_path / "out", Oracle(fail_after=5))
    run(small[0], tmp_path / "out", simplify_px=0)
    assert "begun anew" in capsys.readouterr().out


def test_memory_does_not_grow_with_the_slide(tmp_path, monkeypatch, scene):
    image, _ = scene.draw(UM, 800, 800)
    most = []
    take = sweeping._MapBuffer._take

    def watch(canvas, batch):
        reached = take(canvas, batch)
        most[-1] = max(most[-1], sum(m.foreground.size for m in canvas.maps.values()))
        return reached

    monkeypatch.setattr(sweeping._MapBuffer, "_take", watch)
    for rows in (2, 5):
        most.append(0)
        slide = write_slide(tmp_path / f"{rows}.tif", np.tile(image, (rows, 1, 1)))
        run(slide, tmp_path / f"out{rows}", tile=384, batch_size=1)
    assert most[0] == most[1] < 2.5 * 256 * 1024


def test_file_says_what_made_it(tiled, slide):
    nuclei = NucleiFile(tiled[0])
    meta = nuclei.metadata
    assert (meta["slide"], meta["source"], meta["width"], meta["height"]) == ("slide", "slide", WIDTH, HEIGHT)
    assert meta["slide_um_per_px"] == pytest.approx(UM) and nuclei.um_per_px == pytest.approx(UM)
    assert meta["tissue_mm2"] == pytest.approx(WIDTH * HEIGHT * UM**2 / 1e6)
    assert meta["counts"]["nuclei"] == len(nuclei) == sum(meta["counts"]["by_class"].values())
    assert nuclei.taxonomy.names == tuple(nuclei.classes[1:]) and nuclei.taxonomy.color_of("Dead") == "#000000"
    assert tiled[1]["binding"] in tiled[1]["stages"]
    frame = gpd.read_parquet(nuclei.path)
    assert list(frame["nucleus_id"]) == list(range(1, len(frame) + 1)) and frame.crs is None
    assert frame.filter(like="probability_").sum(axis=1).round(3).eq(1).all()
    parts = list(nuclei.batches(["class"], size=300))
    assert sum(map(len, parts)) == len(frame) and list(parts[1].index[:1]) == [300]
    assert set(parts[0].columns) == {"class", "geometry"}


def test_region_gives_the_nuclei_inside(tiled, slide, tmp_path):
    counts = run(slide, tmp_path / "out", region=(300, 400, 900, 1000))
    whole, part = NucleiFile(tiled[0]).read(), NucleiFile(tmp_path / "out").read()
    x, y = whole["centroid_x"], whole["centroid_y"]
    inside = whole[(x >= 300) & (x < 900) & (y >= 400) & (y < 1000)]
    assert len(part) == len(inside) and counts["tiles"] < 20
    iou = [a.intersection(b).area / a.union(b).area for a, b in zip(*(
        f.sort_values(["centroid_y", "centroid_x"]).geometry for f in (part, inside)), strict=True)]  # fmt: skip
    assert min(iou) > 0.9
    with pytest.raises(UserError, match="holds nothing of the slide"):
        run(slide, tmp_path / "none", region=(5000, 0, 6000, 100))


def test_nuclei_are_looked_for_on_tissue(small, tmp_path):
    _, image, labels = small
    canvas = np.full((1200, 2600, 3), 245, np.uint8)
    canvas[100:1000, 100:800] = image
    slide = write_slide(tmp_path / "slide.tif", canvas)
    predictor = Oracle()
    counts = run(slide, tmp_path / "out", predictor, tissue=None, tile=384)
    assert counts["nuclei"] == labels.max() and counts["tiles"] < 25
    meta = NucleiFile(tmp_path / "out").metadata
    assert meta["tissue_mm2"] == pytest.approx(700 * 900 * UM**2 / 1e6, rel=0.1)
    assert (tmp_path / "out" / "tissue.tif").is_file() and (tmp_path / "out" / "tissue.png").is_file()


def test_an_output_that_lost_a_file_is_made_again(small, tmp_path):
    out = tmp_path / "out"
    run(small[0], out, tile=384, tissue=None)
    before = (out / "nuclei.parquet").read_bytes()
    for name in ("tissue.tif", "tissue.png"):
        (out / name).unlink()
        run(small[0], out, tile=384, tissue=None)
        assert sorted(path.name for path in out.iterdir()) == ["nuclei.parquet", "tissue.png", "tissue.tif"]
    assert (out / "nuclei.parquet").read_bytes() == before


def test_a_folder_of_something_else_is_never_removed(small, tmp_path):
    foreign = tmp_path / "out.partial" / "thesis.docx"
    foreign.parent.mkdir()
    foreign.touch()
    with pytest.raises(UserError, match=r"out\.partial: .* holds thesis\.docx, which is none"):
        run(small[0], tmp_path / "out")
    assert foreign.exists()


def test_two_runs_into_one_output(small, tmp_path):
    with locked(tmp_path / "out.partial"), pytest.raises(UserError, match="another process .* is at work in it"):
        run(small[0], tmp_path / "out")


@pytest.mark.parametrize("damage", ["byte", "cut", "state"])
def test_damaged_partial_results_are_made_again(small, tmp_path, damage, capsys):
    out, kept = tmp_path / "out", tmp_path / "out.partial"
    with pytest.raises(RuntimeError, match="killed"):
        run(small[0], out, Oracle(fail_after=18), tile=384, batch_size=1)
    first = kept / "part-0000-000000.parquet"
    content = bytearray(first.read_bytes())
    content[len(content) // 3] ^= 1
    if damage == "state":
        (kept / "state.json").write_text("{")
    else:
        first.write_bytes(content if damage == "byte" else content[:100])
    run(small[0], out, tile=384)
    assert ("begun anew" if damage == "state" else "is damaged") in capsys.readouterr().out
    run(small[0], tmp_path / "whole", tile=384)
    assert (out / "nuclei.parquet").read_bytes() == (tmp_path / "whole" / "nuclei.parquet").read_bytes()
