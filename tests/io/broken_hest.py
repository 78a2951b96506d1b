"""Broken HEST-1k samples."""

import numpy as np
import shapely
from breakage import HEST, META, SEG, TRANSCRIPTS, WSI, broken, cut, description, edit, setting

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
