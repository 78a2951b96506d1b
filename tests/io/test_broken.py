"""Broken inputs: each ends in one sentence that names the sample and the file, none in a traceback, none in silence."""

import gzip
import json
import shutil
import zipfile

import bundle
import h5py
import numpy as np
import pandas as pd
import pytest
import shapely
import tifffile

from stnuclei.errors import UserError
from stnuclei.io import read_sample, write_sample

CELLS, NUCLEI, MATRIX = "cells.parquet", "nucleus_boundaries.parquet", "cell_feature_matrix.h5"
HE, ALIGN, RUN = "test_he_image.ome.tif", "test_he_imagealignment.csv", "experiment.xenium"
XENIUM: dict[str, tuple] = {}
HEST: dict[str, tuple] = {}
KEY = "TENX1"
TRANSCRIPTS, SEG = f"transcripts/{KEY}_transcripts.parquet", f"xenium_seg/{KEY}_xenium_nucleus_seg.parquet"
META, WSI = f"metadata/{KEY}.json", f"wsis/{KEY}.tif"


def broken(name, file, says, cases=XENIUM):
    """Register a way to break a copy of the good input: the file the sentence names, and what it says."""

    def register(change):
        cases[name] = (change, file, says)
        return change

    return register


# --- tools ---------------------------------------------------------------------------------------------------------


def cut(share):
    def change(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return change


def edit(path, change):
    """Rewrite a parquet table through pandas."""
    frame = pd.read_parquet(path)
    frame = change(frame)
    frame.to_parquet(path, index=frame.index.name is not None or frame.index.dtype == object)


def setting(column, row, value):
    def change(frame):
        frame[column] = frame[column].astype(object if isinstance(value, str | None) else float)
        frame.loc[frame.index[row], column] = value
        return frame

    return change


def description(path, **changes):
    content = json.loads(path.read_text())
    for key, value in changes.items():
        content.pop(key, None) if value is ... else content.update({key: value})
    path.write_text(json.dumps(content))


def in_h5(path, name, change):
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        del file[name]
        if change is not None:
            file[name] = change(values)


# --- experiment.xenium ---------------------------------------------------------------------------------------------

broken("no experiment.xenium", "run", "holds no experiment.xenium")(lambda f: (f / RUN).unlink())
broken("experiment empty", RUN, "is no JSON")(lambda f: (f / RUN).write_text(""))
broken("experiment cut", RUN, "is no JSON")(lambda f: cut(0.5)(f / RUN))
broken("experiment a list", RUN, "holds a list")(lambda f: (f / RUN).write_text("[1, 2]"))
broken("experiment binary", RUN, "is no JSON")(lambda f: (f / RUN).write_bytes(bytes(range(256))))
broken("no pixel size", RUN, "pixel_size is None")(lambda f: description(f / RUN, pixel_size=...))
broken("pixel size text", RUN, "pixel_size is '0.2125'")(lambda f: description(f / RUN, pixel_size="0.2125"))
broken("pixel size zero", RUN, "pixel_size is 0")(lambda f: description(f / RUN, pixel_size=0))
broken("pixel size in nm", RUN, "pixel_size is 212.5")(lambda f: description(f / RUN, pixel_size=212.5))
broken("no version", RUN, "has no analysis_sw_version")(lambda f: description(f / RUN, analysis_sw_version=...))
broken("version 5", RUN, "written by xenium-5.1.0.3, versions 1.x to 4.x")(
    lambda f: description(f / RUN, analysis_sw_version="xenium-5.1.0.3")
)
broken("version 0.9", RUN, "written by xenium-0.9.2")(
    lambda f: description(f / RUN, analysis_sw_version="xenium-0.9.2")
)
broken("future ranger", RUN, "written by xenium-6.0.0")(
    lambda f: description(f / RUN, xenium_ranger={"version": "xenium-6.0.0"})
)

# --- cells ---------------------------------------------------------------------------------------------------------

broken("no cells", "run", "holds neither cells.parquet nor cells.csv.gz")(lambda f: (f / CELLS).unlink())
broken("cells cut", CELLS, "cannot be read")(lambda f: cut(0.6)(f / CELLS))
broken("cells empty file", CELLS, "cannot be read")(lambda f: (f / CELLS).write_bytes(b""))
broken("cells no parquet", CELLS, "cannot be read")(lambda f: (f / CELLS).write_text("cell_id,x_centroid\n1,2\n"))
broken("zero cells", CELLS, "has no row")(lambda f: edit(f / CELLS, lambda t: t.iloc[:0]))
broken("cells without id", CELLS, "has no column cell_id")(
    lambda f: edit(f / CELLS, lambda t: t.drop(columns="cell_id"))
)
broken("cells without x", CELLS, "has no column x_centroid")(
    lambda f: edit(f / CELLS, lambda t: t.rename(columns={"x_centroid": "x"}))
)
broken("cells id twice", CELLS, "are there twice")(lambda f: edit(f / CELLS, setting("cell_id", 4, "aaaaaaah-1")))
broken("cells id missing", CELLS, "1 of 60 values are missing")(lambda f: edit(f / CELLS, setting("cell_id", 4, None)))
broken("cells NaN", CELLS, "column y_centroid: 1 of 60 values are no number")(
    lambda f: edit(f / CELLS, setting("y_centroid", 7, np.nan))
)
broken("cells infinite", CELLS, "column x_centroid: 1 of 60")(
    lambda f: edit(f / CELLS, setting("x_centroid", 7, np.inf))
)
broken("cells text", CELLS, "column x_centroid: holds .*string, not numbers")(
    lambda f: edit(f / CELLS, lambda t: t.assign(x_centroid="far"))
)
broken("cells ids are floats", CELLS, "column cell_id: holds double")(
    lambda f: edit(f / CELLS, lambda t: t.assign(cell_id=np.arange(len(t)) + 0.5))
)
broken("cells ids no text", CELLS, "are not UTF-8")(
    lambda f: edit(f / CELLS, lambda t: t.assign(cell_id=[bytes([255, 254, k]) for k in range(len(t))]))
)
broken("cells too few", MATRIX, "has 60 cells, cells.parquet has 50")(lambda f: edit(f / CELLS, lambda t: t.iloc[:50]))
broken("cells of another run", MATRIX, "60 of them, such as other0, not in the matrix")(
    lambda f: edit(f / CELLS, lambda t: t.assign(cell_id=[f"other{k}" for k in range(len(t))]))
)
broken("cells x and y exchanged", NUCLEI, "nuclei lie .* um from their cells in cells.parquet")(
    lambda f: edit(f / CELLS, lambda t: t.rename(columns={"x_centroid": "y_centroid", "y_centroid": "x_centroid"}))
)


@broken("cells.csv.gz cut", "cells.csv.gz", "cannot be read")
def _(folder):
    frame = pd.read_parquet(folder / CELLS)
    (folder / CELLS).unlink()
    frame.to_csv(folder / "cells.csv.gz", index=False)
    cut(0.5)(folder / "cells.csv.gz")


@broken("cells.csv.gz is no gzip", "cells.csv.gz", "cannot be read")
def _(folder):
    (folder / CELLS).unlink()
    (folder / "cells.csv.gz").write_text("cell_id,x_centroid,y_centroid\na,1,2\n")


# --- nuclei --------------------------------------------------------------------------------------------------------

broken("no nuclei", "run", "holds neither nucleus_boundaries.parquet")(lambda f: (f / NUCLEI).unlink())
broken("nuclei cut", NUCLEI, "cannot be read")(lambda f: cut(0.7)(f / NUCLEI))
broken("zero nuclei", NUCLEI, "has no row")(lambda f: edit(f / NUCLEI, lambda t: t.iloc[:0]))
broken("nuclei without vertex_y", NUCLEI, "has no column vertex_y")(
    lambda f: edit(f / NUCLEI, lambda t: t.drop(columns="vertex_y"))
)
broken("nuclei NaN", NUCLEI, "column vertex_x: 1 of")(lambda f: edit(f / NUCLEI, setting("vertex_x", 30, np.nan)))
broken("nuclei label missing", NUCLEI, "column label_id: 1 of")(
    lambda f: edit(f / NUCLEI, setting("label_id", 30, np.nan))
)
broken("nuclei of another run", NUCLEI, "cell ids, such as other, are not in cells.parquet")(
    lambda f: edit(f / NUCLEI, lambda t: t.assign(cell_id="other"))
)
broken("one foreign nucleus", NUCLEI, "1 cell ids, such as zzz-1")(
    lambda f: edit(f / NUCLEI, setting("cell_id", slice(13, 26), "zzz-1"))
)
broken("nuclei x and y exchanged", NUCLEI, "are x and y exchanged")(
    lambda f: edit(f / NUCLEI, lambda t: t.rename(columns={"vertex_x": "vertex_y", "vertex_y": "vertex_x"}))
)
broken("nuclei in pixels", NUCLEI, "units others")(
    lambda f: edit(f / NUCLEI, lambda t: t.assign(vertex_x=t.vertex_x / 0.2125, vertex_y=t.vertex_y / 0.2125))
)
broken("nuclei shifted by rows", NUCLEI, "um from their cells")(
    lambda f: edit(f / NUCLEI, lambda t: t.assign(cell_id=np.roll(t.cell_id.to_numpy(), 26 * 13)))
)
broken("nuclei are lines", NUCLEI, "no nucleus outline encloses anything")(
    lambda f: edit(f / NUCLEI, lambda t: t.assign(vertex_y=5.0))
)
broken("nuclei are points", NUCLEI, "no nucleus outline encloses anything")(
    lambda f: edit(f / NUCLEI, lambda t: t.iloc[::13])
)

# --- matrix --------------------------------------------------------------------------------------------------------

broken("no matrix", "run", "holds neither cell_feature_matrix.h5")(lambda f: (f / MATRIX).unlink())
broken("matrix cut", MATRIX, "cannot be read")(lambda f: cut(0.5)(f / MATRIX))
broken("matrix no h5", MATRIX, "cannot be read")(lambda f: (f / MATRIX).write_text("not hdf5"))
broken("matrix without indptr", MATRIX, "is no 10x matrix")(lambda f: in_h5(f / MATRIX, "matrix/indptr", None))
broken("matrix without types", MATRIX, "is no 10x matrix")(
    lambda f: in_h5(f / MATRIX, "matrix/features/feature_type", None)
)
broken("matrix wrong shape", MATRIX, "do not fit together")(
    lambda f: in_h5(f / MATRIX, "matrix/shape", lambda v: v[::-1])
)
broken("matrix a cell short", MATRIX, "do not fit together")(
    lambda f: in_h5(f / MATRIX, "matrix/indptr", lambda v: v[:-1])
)
broken("matrix data short", MATRIX, "do not fit together")(lambda f: in_h5(f / MATRIX, "matrix/data", lambda v: v[:-3]))
broken("matrix index too large", MATRIX, "counts feature")(
    lambda f: in_h5(f / MATRIX, "matrix/indices", lambda v: v + 900)
)
broken("matrix negative", MATRIX, "negative, too large or no number")(
    lambda f: in_h5(f / MATRIX, "matrix/data", lambda v: -v)
)
broken("matrix fractions", MATRIX, "holds fractions")(lambda f: in_h5(f / MATRIX, "matrix/data", lambda v: v * 0.37))
broken("matrix NaN", MATRIX, "no number")(lambda f: in_h5(f / MATRIX, "matrix/data", lambda v: v * np.nan))
broken("matrix all zero", MATRIX, "not one transcript")(lambda f: in_h5(f / MATRIX, "matrix/data", lambda v: v * 0))
broken("matrix names short", MATRIX, "but there are 16 ids")(
    lambda f: [in_h5(f / MATRIX, f"matrix/features/{k}", lambda v: v[:-1]) for k in ("id", "name", "feature_type")]
)
broken("matrix one list short", MATRIX, "but there are 16 names")(
    lambda f: in_h5(f / MATRIX, "matrix/features/name", lambda v: v[:-1])
)
broken("matrix barcode twice", MATRIX, "is there twice")(
    lambda f: in_h5(f / MATRIX, "matrix/barcodes", lambda v: np.r_[v[:1], v[:1], v[2:]])
)
broken("matrix no genes", MATRIX, "none of its 17 features is a gene")(
    lambda f: in_h5(f / MATRIX, "matrix/features/feature_type", lambda v: np.full(len(v), b"Blank Codeword"))
)


@broken("only the packed matrix", "run", "unpack cell_feature_matrix.tar.gz")
def _(folder):
    (folder / MATRIX).rename(folder / "cell_feature_matrix.tar.gz")


@broken("mex without features", "cell_feature_matrix", "holds no features.tsv.gz")
def _(folder):
    _mex(folder)
    (folder / "cell_feature_matrix" / "features.tsv.gz").unlink()


@broken("mex cut", "cell_feature_matrix", "cannot be read")
def _(folder):
    _mex(folder)
    cut(0.5)(folder / "cell_feature_matrix" / "matrix.mtx.gz")


@broken("mex without types", "features.tsv.gz", "has no third column")
def _(folder):
    _mex(folder)
    with gzip.open(folder / "cell_feature_matrix" / "features.tsv.gz", "wt") as file:
        file.writelines(f"ENSG{k}\tGENE{k}\n" for k in range(17))


@broken("mex barcodes short", "cell_feature_matrix", "59 barcodes")
def _(folder):
    _mex(folder)
    path = folder / "cell_feature_matrix" / "barcodes.tsv.gz"
    lines = gzip.open(path, "rt").readlines()
    with gzip.open(path, "wt") as file:
        file.writelines(lines[:-1])


def _mex(folder):
    (folder / MATRIX).unlink()
    bundle.write_matrix(folder, bundle.cell_ids("text"), bundle.LAYOUTS["3.0"], "mex")


# --- alignment -----------------------------------------------------------------------------------------------------


def text(content):
    return lambda folder: (folder / ALIGN).write_text(content)


def matrix(values):
    return lambda folder: np.savetxt(folder / ALIGN, values, delimiter=",")


POINTS = "fixedX,fixedY,alignmentX,alignmentY\n"
broken("no alignment", "run", "no H&E alignment .* name it in column he_alignment")(lambda f: (f / ALIGN).unlink())
broken("alignment empty", ALIGN, "is empty")(text(""))
broken("alignment words", ALIGN, "neither a 3x3 matrix nor a keypoints table|no number")(text("a,b,c\nd,e,f\ng,h,i\n"))
broken("alignment 2 rows", ALIGN, "is neither a 3x3 matrix")(text("1,0,0\n0,1,0\n"))
broken("alignment 4x4", ALIGN, "is neither a 3x3 matrix")(matrix(np.eye(4)))
broken("alignment NaN", ALIGN, "NaN or infinity")(text("1,0,nan\n0,1,0\n0,0,1\n"))
broken("alignment transposed", ALIGN, "it looks transposed")(matrix(bundle.MATRIX.T))
broken("alignment projective", ALIGN, "only affine matrices")(text("1,0,5\n0,1,5\n0.01,0,1\n"))
broken("alignment singular", ALIGN, "stretches one direction")(text("1,1,0\n1,1,0\n0,0,1\n"))
broken("alignment all zero", ALIGN, "stretches one direction")(text("0,0,0\n0,0,0\n0,0,1\n"))
broken("alignment stretched", ALIGN, "which no slide does")(matrix(bundle.MATRIX @ np.diag([1, 1.3, 1])))
broken("alignment inverse", ALIGN, "0.1806 by alignment .* he_um_per_px")(matrix(np.linalg.inv(bundle.MATRIX)))
broken("alignment in um", ALIGN, "0.0531 by alignment")(matrix(np.diag([0.2125, 0.2125, 1]) @ bundle.MATRIX))
broken("alignment of a thumbnail", ALIGN, "makes an H&E pixel 4 um wide")(matrix(bundle.MATRIX @ np.diag([16, 16, 1])))
broken("alignment far away", ALIGN, "puts 100 % of the nuclei outside test_he_image")(
    matrix(bundle.MATRIX + [[0, 0, 9000], [0, 0, 0], [0, 0, 0]])
)
broken("alignment mirrored", ALIGN, "of the nuclei outside")(matrix(bundle.MATRIX @ np.diag([-1, 1, 1])))
broken("keypoints too few", ALIGN, "has 2 keypoints")(text(POINTS + "1,2,3,4\n5,6,7,9\n"))
broken("keypoints on a line", ALIGN, "lie on a line")(
    text(POINTS + "".join(f"{k},{k},{k},{k}\n" for k in range(1, 60, 9)))
)
broken("keypoints no number", ALIGN, "a keypoint is no number")(text(POINTS + "1,2,3,x\n5,6,7,9\n1,1,1,1\n"))
broken("keypoints incomplete", ALIGN, "a keypoint is no number or incomplete")(
    text(POINTS + "1,2,3\n5,6,7,9\n1,1,1,1\n")
)
broken("keypoints a column short", ALIGN, "keypoints lack column alignmenty")(text("fixedX,fixedY,alignmentX\n1,2,3\n"))
broken("keypoints one wrong", ALIGN, "keypoints do not agree .* worst point 6 by")(
    text(POINTS + "0,0,0,0\n1000,0,1000,0\n0,1000,0,1000\n1000,1000,1000,1000\n500,500,500,500\n300,900,900,300\n")
)


@broken("zip without a matrix", "test_he_alignment.zip", "holds neither matrix.csv nor keypoints.csv")
def _(folder):
    (folder / ALIGN).unlink()
    with zipfile.ZipFile(folder / "test_he_alignment.zip", "w") as archive:
        archive.writestr("readme.txt", "x")


# --- slide ---------------------------------------------------------------------------------------------------------

broken("no slide", "run", "no H&E image .* name it in column he_image")(lambda f: (f / HE).unlink())
broken("slide empty", HE, "is empty")(lambda f: (f / HE).write_bytes(b""))
broken("slide is text", HE, "neither tifffile nor openslide knows")(lambda f: (f / HE).write_text("not an image " * 99))
broken("slide cut", HE, "cut short|cannot be opened")(lambda f: cut(0.5)(f / HE))
broken("slide cut to its header", HE, "cannot be opened|cut short")(
    lambda f: (f / HE).write_bytes((f / HE).read_bytes()[:300])
)
broken("slide 16 bit", HE, "pixels are uint16")(
    lambda f: tifffile.imwrite(f / HE, np.zeros((640, 800, 3), np.uint16), photometric="rgb")
)
broken("slide grey", HE, "are no RGB image")(lambda f: tifffile.imwrite(f / HE, np.zeros((640, 800), np.uint8)))
broken("slide is a z-stack", HE, "are no RGB image")(
    lambda f: tifffile.imwrite(
        f / HE, np.zeros((7, 640, 800), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"}
    )
)
broken("slide states another pixel size", HE, "0.2500 by alignment .* 0.3639 by .* he_um_per_px")(
    lambda f: bundle.write_he(f / HE, um=0.3639)
)
broken("slide cropped", ALIGN, "of the nuclei outside test_he_image")(
    lambda f: bundle.write_he(f / HE, bundle.slide_pixels()[:200, :300])
)
broken("two slides", "run", "could mean 2 files")(lambda f: shutil.copy(f / HE, f / "b_he_image.ome.tif"))


@broken("slide with a damaged tile", HE, "cannot be decoded")
def _(folder):
    damaged = bytearray((folder / HE).read_bytes())
    damaged[3000:9000] = b"\0" * 6000
    (folder / HE).write_bytes(damaged)


@broken("morphology damaged", "morphology_focus_0000.ome.tif", "cannot be opened as TIFF")
def _(folder):
    (folder / "morphology_focus" / "morphology_focus_0000.ome.tif").write_text("no image")


# --- HEST-1k -------------------------------------------------------------------------------------------------------


def hest(name, file, says):
    return broken(name, file, says, HEST)


hest("hest no metadata", META, "no such file")(lambda f: (f / META).unlink())
hest("hest no slide", WSI, "no such file; download")(lambda f: (f / WSI).unlink())
hest("hest no transcripts", TRANSCRIPTS, "no such file; download")(lambda f: (f / TRANSCRIPTS).unlink())
hest("hest no nuclei", SEG, "no such file; download")(lambda f: (f / SEG).unlink())
hest("hest metadata cut", META, "is no JSON")(lambda f: cut(0.5)(f / META))
hest("hest is Visium", META, "the sample is Visium")(lambda f: description(f / META, st_technology="Visium"))
hest("hest size differs", WSI, "is 800 x 640 px, its metadata say 900 x 640")(
    lambda f: description(f / META, fullres_px_width=900)
)
hest("hest pixel size differs", "TENX1.json", "0.2125 by TENX1.json .* he_um_per_px")(
    lambda f: description(f / META, pixel_size_um_estimated=0.2125)
)
hest("hest slide cut", WSI, "cut short|cannot be opened")(lambda f: cut(0.4)(f / WSI))
hest("hest transcripts cut", TRANSCRIPTS, "cannot be read")(lambda f: cut(0.5)(f / TRANSCRIPTS))
hest("hest transcripts damaged inside", TRANSCRIPTS, "cannot be read|no number|no UTF-8|missing|not UTF-8")(
    lambda f: (f / TRANSCRIPTS).write_bytes((c := (f / TRANSCRIPTS).read_bytes())[:400] + b"\xff" * 3000 + c[3400:])
)
hest("hest transcripts without qv", TRANSCRIPTS, "has no column qv")(
    lambda f: edit(f / TRANSCRIPTS, lambda t: t.drop(columns="qv"))
)
hest("hest transcripts without he_x", TRANSCRIPTS, "has no column he_x")(
    lambda f: edit(f / TRANSCRIPTS, lambda t: t.drop(columns="he_x"))
)
hest("hest transcripts NaN", TRANSCRIPTS, "column he_y: 1 of")(
    lambda f: edit(f / TRANSCRIPTS, setting("he_y", 9, np.nan))
)
hest("hest transcripts all bad", TRANSCRIPTS, "none of its .* is a gene in a cell with qv >= 20")(
    lambda f: edit(f / TRANSCRIPTS, lambda t: t.assign(qv=np.float32(3)))
)
hest("hest transcripts all free", TRANSCRIPTS, "is a gene in a cell")(
    lambda f: edit(f / TRANSCRIPTS, lambda t: t.assign(cell_id="UNASSIGNED"))
)
hest("hest zero transcripts", TRANSCRIPTS, "none of its 0 transcripts")(
    lambda f: edit(f / TRANSCRIPTS, lambda t: t.iloc[:0])
)
hest("hest he_x is constant", TRANSCRIPTS, "do not follow from x_location")(
    lambda f: edit(f / TRANSCRIPTS, lambda t: t.assign(he_x=1.0, he_y=2.0))
)
hest("hest feature missing", TRANSCRIPTS, "column feature_name: 1 values are missing")(
    lambda f: edit(f / TRANSCRIPTS, setting("feature_name", 5, None))
)
hest("hest nuclei cut", SEG, "cannot be read")(lambda f: cut(0.5)(f / SEG))
hest("hest nuclei without geometry", SEG, "expected geometry")(
    lambda f: edit(f / SEG, lambda t: t.rename(columns={"geometry": "shape"}))
)
hest("hest nuclei no WKB", SEG, "is no WKB")(lambda f: edit(f / SEG, lambda t: t.assign(geometry=b"not wkb")))
hest("hest zero nuclei", SEG, "holds no nucleus")(lambda f: edit(f / SEG, lambda t: t.iloc[:0]))
hest("hest nuclei of another sample", SEG, "have no transcript in")(
    lambda f: edit(f / SEG, lambda t: t.set_axis([f"other{k}" for k in range(len(t))]))
)
hest("hest nuclei are lines", SEG, "encloses anything")(
    lambda f: edit(f / SEG, lambda t: t.assign(geometry=shapely.to_wkb(shapely.LineString([(0, 0), (9, 9)]))))
)
hest("hest nuclei in um", SEG, "nuclei lie .* um from their cells|um2, which no tissue has")(
    lambda f: edit(f / SEG, lambda t: t.assign(geometry=_scaled(t.geometry, 0.25)))
)
hest("hest nuclei of a smaller level", SEG, "um from their cells|um2, which no tissue has")(
    lambda f: edit(f / SEG, lambda t: t.assign(geometry=_scaled(t.geometry, 1 / 16)))
)
hest("hest nuclei outside", SEG, "of the nuclei outside TENX1.tif")(
    lambda f: edit(f / SEG, lambda t: t.assign(geometry=_scaled(t.geometry, 1.0, 5000)))
)


def _scaled(geometry, factor, shift=0.0):
    return shapely.to_wkb(shapely.transform(shapely.from_wkb(geometry.to_numpy()), lambda xy: xy * factor + shift))


# --- the tests -----------------------------------------------------------------------------------------------------


def refused(platform, folder, file, says, tmp_path):
    with pytest.raises(UserError, match=says) as caught:
        sample = read_sample(platform, folder, sample="s7", checksums=False)
        write_sample(sample, tmp_path / "sample.zarr")  # damaged pixels show when they are read
    sentence = str(caught.value)
    assert "s7" in sentence and file in sentence, sentence
    assert "\n" not in sentence and len(sentence) < 700 and "Traceback" not in sentence
    assert not (tmp_path / "sample.zarr").exists()


@pytest.mark.parametrize("name", XENIUM)
def test_broken_bundle(good_bundle, tmp_path, name):
    change, file, says = XENIUM[name]
    folder = tmp_path / "run"
    shutil.copytree(good_bundle, folder)
    change(folder)
    refused("xenium", folder, file, says, tmp_path)


@pytest.mark.parametrize("name", HEST)
def test_broken_hest_sample(good_hest, tmp_path, name):
    change, file, says = HEST[name]
    folder = tmp_path / "hest"
    shutil.copytree(good_hest, folder)
    change(folder)
    refused("hest", folder, file, says, tmp_path)


def test_there_are_enough_of_them():
    assert len(XENIUM) + len(HEST) >= 60


@pytest.mark.parametrize(
    ("platform", "options", "says"),
    [
        ("visium", {}, "platform 'visium' is none of xenium, hest"),
        ("xenium", {"he_image": "nowhere.tif"}, "nowhere.tif: no such H&E image"),
        ("xenium", {"he_alignment": "nowhere.csv"}, "nowhere.csv: no such alignment file"),
        ("xenium", {"he_alignment": "identity"}, "0.2125 by alignment identity"),
        ("xenium", {"he_um_per_px": 0.9}, "he_um_per_px: 0.9 is near none"),
        ("xenium", {"id": "TENX1"}, "option id belongs to platform hest"),
        ("hest", {"he_alignment": "identity"}, "leave he_alignment empty"),
        ("hest", {"id": "TENX2"}, "id TENX2 is not in it"),
    ],
)
def test_wrong_settings(good_bundle, good_hest, platform, options, says):
    folder = good_hest if platform == "hest" else good_bundle
    with pytest.raises(UserError, match=f"^sample s7: .*{says}"):
        read_sample(platform, folder, sample="s7", checksums=False, **options)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="^sample s7: .*none: no such folder"):
        read_sample("xenium", tmp_path / "none", sample="s7")
