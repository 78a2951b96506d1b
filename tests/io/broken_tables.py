"""Broken tables of a Xenium run."""

import gzip

import bundle
import numpy as np
import pandas as pd
from breakage import (
    CELLS,
    MATRIX,
    NUCLEI,
    RUN,
    broken,
    cut,
    description,
    edit,
    in_h5,
    setting,
)

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
