"""Small raw folders of CosMx, MERSCOPE and Visium HD, as their instruments lay them out."""

import json

import bundle
import geopandas as gpd
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import shapely
import tifffile

GENES = ("EPCAM", "CD3E", "VIM", "KRT8")
HE = (640, 800)  # rows, columns of the H&E
#: Centres of nuclei, he_px; none lies on the seam of two fields of view.
CENTRES = np.array([(60.0 + 90 * (k % 8), 50.0 + 80 * (k // 8)) for k in range(56)])


def counts(genes=GENES):
    return np.random.default_rng(5).poisson(3.0, (len(CENTRES), len(genes)))


def nuclear_counts():
    """Of `counts`, those of the bin below each nucleus (Visium HD)."""
    return (counts() + 1) // 2


def write_slide(folder, matrix, name="he_image.tif"):
    """H&E of 0.25 um, and the alignment `matrix` (H&E px to the run's pixels) where there is one."""
    bundle.write_he(folder / name, np.random.default_rng(1).integers(0, 256, (*HE, 3), np.uint8))
    if matrix is not None:
        np.savetxt(folder / "he_imagealignment.csv", matrix, delimiter=",")


def apply(matrix, points):
    return points @ matrix[:2, :2].T + matrix[:2, 2]


#: H&E px to mosaic px of 0.108 um, turned by 90 degrees.
MOSAIC_UM = 0.108
TO_MOSAIC = np.array([[0.0, -0.25 / MOSAIC_UM, 1700.0], [0.25 / MOSAIC_UM, 0.0, 40.0], [0.0, 0.0, 1.0]])


def make_merscope(folder):
    """A region; outlines and centres in um, whose origin is not the mosaic's."""
    folder = folder / "202401_run" / "region_0"
    (folder / "images").mkdir(parents=True)
    um_to_mosaic = np.array([[1 / MOSAIC_UM, 0, 300.0], [0, 1 / MOSAIC_UM, -120.0], [0, 0, 1]])
    np.savetxt(folder / "images" / "micron_to_mosaic_pixel_transform.csv", um_to_mosaic)
    centres = apply(np.linalg.inv(um_to_mosaic) @ TO_MOSAIC, CENTRES)
    ids = [str(3_500_000_000_000_000_000 + k) for k in range(len(CENTRES))]
    shapes = [shapely.MultiPolygon([shapely.Point(xy).buffer(2.0)]) for xy in centres]
    frame = gpd.GeoDataFrame({"EntityID": np.array(ids, np.int64), "ZIndex": 0}, geometry=shapes)
    frame.rename_geometry("Geometry").to_parquet(folder / "cell_boundaries.parquet")
    names = [*GENES, "Blank-1", "Blank-2"]
    table = pd.DataFrame(counts(names), columns=names, index=pd.Index(ids, name="cell"))
    table.to_csv(folder / "cell_by_gene.csv")
    place = {"fov": 0, "volume": 500.0, "center_x": centres[:, 0], "center_y": centres[:, 1]}
    pd.DataFrame(place, index=pd.Index(ids, name="EntityID")).to_csv(folder / "cell_metadata.csv")
    write_slide(folder, TO_MOSAIC)
    return folder


COSMX_UM = 0.12
#: H&E px to global px of 0.12 um.
TO_GLOBAL = np.array([[0.25 / COSMX_UM, 0.0, 5000.0], [0.0, 0.25 / COSMX_UM, 9000.0], [0.0, 0.0, 1.0]])


def make_cosmx(folder, areas=True):
    """Two fields of view beside each other; cells are numbered anew in each, images are stored upside down."""
    for name in ("CellComposite", "CellLabels"):
        (folder / name).mkdir(parents=True)
    points = apply(TO_GLOBAL, CENTRES)
    corner, size = points.min(axis=0) - 60, np.ptp(points, axis=0) + 120
    width, height = int(np.ceil(size[0] / 2)), int(np.ceil(size[1]))
    rows, expression = [], []
    for fov in (1, 2):
        origin = corner + ((fov - 1) * width, 0)
        mine = np.flatnonzero((points[:, 0] >= origin[0]) & (points[:, 0] < origin[0] + width))
        local = points[mine] - origin
        mask = np.zeros((height, width), np.uint16)
        yy, xx = np.mgrid[:height, :width] + 0.5
        for cell, (x, y) in enumerate(local, start=1):
            mask[np.hypot(xx - x, yy - y) < 18] = cell
            where = {"CenterX_local_px": x, "CenterY_local_px": y}
            where |= {"CenterX_global_px": x + origin[0], "CenterY_global_px": y + origin[1]}
            area = {"Area": 1000.0, "Area.um2": 1000.0 * COSMX_UM**2} if areas else {}
            rows.append({"fov": fov, "cell_ID": cell, **area, **where})
            expression.append(mine[cell - 1])
        tifffile.imwrite(folder / "CellLabels" / f"CellLabels_F{fov:03d}.tif", mask[::-1])
        picture = np.zeros((height, width, 3), np.uint8)
        tifffile.imwrite(folder / "CellComposite" / f"CellComposite_F{fov:03d}.tif", picture, photometric="rgb")
    metadata = pd.DataFrame(rows)
    metadata.to_csv(folder / "Run_metadata_file.csv", index=False)
    names = [*GENES, "NegPrb1", "SystemControl7"]
    table = pd.DataFrame(counts(names)[expression], columns=names)
    table.insert(0, "cell_ID", metadata["cell_ID"])
    table.insert(0, "fov", metadata["fov"])
    table.to_csv(folder / "Run_exprMat_file.csv", index=False)
    pd.DataFrame({"fov": [1, 2], "x_global_px": corner[0], "y_global_px": corner[1]}).to_csv(
        folder / "Run_fov_positions_file.csv", index=False
    )
    write_slide(folder, TO_GLOBAL)
    return folder, expression


def make_visium_hd(folder):
    """Space Ranger 4 with segmented nuclei; outlines in pixels of the microscope image.

    Of each cell one bin lies below its nucleus and, in the tables of bins and barcodes, another beside it.
    """
    out = folder / "segmented_outputs"
    (out / "spatial").mkdir(parents=True)
    scales = {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.01, "microns_per_pixel": 0.25}
    scales |= {"spot_diameter_fullres": 8.0, "bin_size_um": 2.0}
    (out / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales))
    names = [f"cellid_{k + 1:09d}-1" for k in range(len(CENTRES))]
    write_h5(out / "filtered_feature_cell_matrix.h5", counts(), names)
    for kind, radius in (("nucleus", 8.0), ("cell", 14.0)):
        features = [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(shapely.Point(xy).buffer(radius)),
                "properties": {"cell_id": k + 1},
            }
            for k, xy in enumerate(CENTRES)
        ]
        content = {"type": "FeatureCollection", "features": features}
        (out / f"{kind}_segmentations.geojson").write_text(json.dumps(content))
    bins = [f"s_002um_{k:05d}_{side:05d}-1" for side in (0, 1) for k in range(len(CENTRES))]
    binned = folder / "binned_outputs" / "square_002um"
    binned.mkdir(parents=True)
    write_h5(binned / "filtered_feature_bc_matrix.h5", np.vstack([nuclear_counts(), counts() - nuclear_counts()]), bins)
    mapping = {"square_002um": bins, "cell_id": names * 2, "in_nucleus": np.arange(len(bins)) < len(names)}
    pq.write_table(pa.table(mapping), folder / "barcode_mappings.parquet")
    with h5py.File(folder / "feature_slice.h5", "w") as file:
        layout = json.dumps({"file_format": "1.0", "transform": [1, 0, 0, 0, 1, 0, 0, 0, 1]})
        file.attrs["metadata_json"] = json.dumps({"hd_layout_json": layout})
    (folder / "microscope_image").mkdir()
    write_slide(folder / "microscope_image", None, "slide.tif")
    return folder


def write_h5(path, values, barcodes, genes=GENES):
    """A 10x matrix of counts (cells, genes)."""
    matrix = sp.csc_matrix(values.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, "S")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = np.array(matrix.shape, np.int64)
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{k:011d}" for k in range(len(genes))], "S")
        features["name"] = np.array(genes, "S")
        features["feature_type"] = np.array(["Gene Expression"] * len(genes), "S")
        features["genome"] = np.array(["GRCh38"] * len(genes), "S")
        features["_all_tag_keys"] = np.array(["genome"], "S")
