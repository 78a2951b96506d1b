"""Broken slides and alignments."""

import shutil
import zipfile

import bundle
import numpy as np
import tifffile
from breakage import ALIGN, HE, broken, cut

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
