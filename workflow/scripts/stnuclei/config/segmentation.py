"""Settings of prediction on patches and of the segmentation of whole slides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from stnuclei.config.inputs import MOST_ENLARGED, NetworkPixel
from stnuclei.config.labels import Method
from stnuclei.config.model import Count, Distinct, Flag, Name, Settings, TextOrOther, WholeNumber
from stnuclei.config.training import Precision
from stnuclei.errors import UserError

#: Settings that change how fast nuclei are found, and not which.
_SPEED = ("batch_size", "device", "threads", "compile")


class PredictionBlock(Settings, block="prediction"):
    """Block ``prediction``: of the patches that are scored."""

    batch_size: Count = Field(64, description="Patches at once.")
    precision: Precision = Field("auto", description="auto: fp16 on a GPU, fp32 on CPU.")


class TileSettings(Settings, block="segmentation"):
    """Settings of the engine that segments a slide tile by tile."""

    network_um_per_px: NetworkPixel = Field(
        0.25, description="Pixel size the models were trained at, um (0.5: the official x20 checkpoints)."
    )
    tile: Annotated[int, Field(ge=64, multiple_of=16)] = Field(1024, description="Side of what the network sees, px.")
    overlap: WholeNumber = Field(64, description="How far tiles overlap on each side, px.")
    batch_size: Count | None = Field(None, description="Tiles at once; null: 8 on a GPU, 1 on a CPU.")
    tta: Flag = Field(False, description="Test-time augmentation, the mean over turns and flips: 8 times the work.")
    device: Annotated[Annotated[str, Tag("(text)")] | Annotated[list[str], Tag("(other)")], TextOrOther] = Field(
        "auto", description="auto, cpu, cuda, cuda:all (every GPU of the job)."
    )
    precision: Precision = Field("auto", description="auto: fp16 on a GPU, fp32 on CPU.")
    compile: Flag = Field(False, description="torch.compile.")
    damaged: Literal["stop", "skip"] = Field(
        "stop", description="A tile of the slide that cannot be decoded: stop, or skip and count it."
    )
    simplify_px: Annotated[float, Field(ge=0, lt=4)] = Field(
        0.3, description="How far outlines may be moved to save points, px; 0 keeps every step of the pixels."
    )
    embeddings: Flag = Field(
        False, description="Keep of each nucleus the mean token of the encoder, 2 bytes a number (docs/classifiers.md)."
    )


class SlideSettings(TileSettings):
    """Settings of `segment_slide`: the engine's, and those of one run."""

    threads: Count = Field(1, description="Threads for reading, for a CPU's arithmetic, and for separating nuclei.")
    region: tuple[float, float, float, float] | None = Field(
        None, description="x0, y0, x1, y1 in he_px: only nuclei whose centroid lies inside."
    )

    def check_slide(self, name: str, um_per_px: float) -> None:
        """Refuse a slide so coarse that its pixels would be invented."""
        if um_per_px / self.network_um_per_px > MOST_ENLARGED:
            raise UserError(
                f"{name}: has {um_per_px:g} um/px, the model sees {self.network_um_per_px:g}; its pixels would be "
                f"enlarged {um_per_px / self.network_um_per_px:.1f} times; give the full-resolution slide"
            )

    def identity(self) -> dict[str, Any]:
        """Settings that the nuclei depend on, plain."""
        return {key: value for key, value in self.to_dict().items() if key not in _SPEED}


class SegmentationBlock(TileSettings):
    """Block ``segmentation``: of the slides of the slides table, and what is made of their nuclei."""

    checkpoints: dict[Name, Name] = Field(
        {}, description="name: file of further models, official CellViT ones among them."
    )
    labels: Method = Field("stnuclei", description="Label set that a sample's predicted classes are compared with.")
    geojson: Literal["zip", "gz", "plain"] = Field("zip", description="For QuPath, which opens all three.")
    max_nuclei_per_file: Count = Field(250000, description="More nuclei than this are written in several files.")
    spatialdata: Flag = Field(True, description="A SpatialData store for each slide and model.")
    copy_image: Flag = Field(True, description="With the H&E in it.")
    formats: Annotated[list[Literal["onnx", "official", "pt2"]], Distinct] = Field(
        [], description="Also write each trained model as onnx, official or pt2."
    )
