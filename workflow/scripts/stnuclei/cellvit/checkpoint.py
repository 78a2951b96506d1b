"""Checkpoints in the layout of the official files, plus taxonomy, tissues, provenance; official files are read too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stnuclei.cellvit.architectures import (
    ARCHITECTURES,
    FOUNDATION,
    LIGHT,
    TINY,
    Architecture,
    find_architecture,
)
from stnuclei.cellvit.decoder import Widths
from stnuclei.cellvit.light import LightSizes
from stnuclei.cellvit.model import RATES, CellViT, ModelSettings, network_of
from stnuclei.cellvit.tensors import channels_last, load_strictly, read_tensors
from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.taxonomy import Taxonomy

TYPES = "nuclei_type_maps_decoder.decoder0_header.2.weight"
BINARY = "nuclei_binary_map_decoder.decoder0_header.2.weight"
TISSUES = ("encoder.head.weight", "classifier_head.weight")
EMBED = "encoder.patch_embed.proj.weight"
NORMALISATION = (0.5, 0.5, 0.5)
#: `arch` -> our name.
KNOWN = {
    "CellViT256": "cellvit-256",
    "CellViT": "cellvit-256",
    **{entry.official: entry.name for entry in ARCHITECTURES.values() if entry.vit and entry.official != FOUNDATION},
    TINY: "cellvit-tiny",
    LIGHT: "cellvit-light",
}


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    *,
    taxonomy: Taxonomy | Mapping[str, Any] | str,
    tissues: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    epoch: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a model with all that prediction needs, atomically.

    The file has the official layout (`arch`, flat `config`, `model_state_dict`, `epoch`) and three more entries
    (`taxonomy`, `tissues`, `provenance`), plain values all: it reads with ``weights_only=True``.

    Parameters
    ----------
    path
        The file.
    model
        A `CellViT`, also inside the wrappers of torch.compile and DistributedDataParallel.
    taxonomy
        Classes of the type map.
    tissues
        Names of the tissue head's outputs.
    config
        Further settings (of training, say), nested or flat; official keys are added.
    epoch
        Epochs trained.
    provenance
        Samples, labels, versions, seed, scores.

    Raises
    ------
    UserError
        If taxonomy or tissues do not have as many entries as the model has outputs.
    """
    network = bare(model)
    taxonomy = Taxonomy.from_dict(taxonomy) if isinstance(taxonomy, Mapping) else Taxonomy.load(taxonomy)
    settings, names = network.settings, list(tissues or ())
    if taxonomy.n_outputs != settings.nuclei_classes or len(names) != settings.tissues:
        raise UserError(
            f"checkpoint {path}: the model has {settings.nuclei_classes} classes (with background) and "
            f"{settings.tissues} tissues, but taxonomy {taxonomy.name} has {taxonomy.n_outputs} and "
            f"{len(names)} tissues are named"
        )
    content = {
        "arch": settings.architecture.official,
        "epoch": int(epoch),
        "config": {**flat(config or {}), **_official_config(settings, taxonomy, names)},
        "taxonomy": plain(taxonomy.to_dict()),
        "tissues": names,
        "provenance": plain(provenance or {}),
        "model_state_dict": {name: v.detach().cpu().contiguous() for name, v in network.state_dict().items()},
    }
    with atomic_write(path) as aside:
        torch.save(content, aside)


def bare(model: nn.Module) -> CellViT:
    """The network inside the wrappers of torch.compile and DistributedDataParallel."""
    while not isinstance(model, CellViT):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            raise TypeError(f"not a CellViT: {type(model).__name__}")
        model = inner
    return model


def load_checkpoint(path: str | Path, map_location: Any = "cpu") -> tuple[CellViT, dict[str, Any]]:
    """Read a model, written by us or by the official code.

    Parameters
    ----------
    path
        The file.
    map_location
        Where the model goes.

    Returns
    -------
    The model in evaluation mode, and its metadata: ``arch``, ``architecture`` (our name), ``config``
    (flat), ``taxonomy`` (dict; None in official files), ``classes`` (names, background first), ``tissues`` (names),
    ``mean`` and ``std`` (of the normalisation), ``um_per_px`` (of the patches it learned from; None where the file does
    not say), ``epoch``, ``provenance``.

    Raises
    ------
    UserError
        If the file is no checkpoint, of an unknown kind, or does not fit: then with the names of what is missing,
        unexpected or of another shape. Nothing is ever loaded in part.
    """
    content = read_tensors(path, "checkpoint", map_location)
    for key in ("arch", "config", "model_state_dict"):
        if not isinstance(content, Mapping) or key not in content:
            raise UserError(f"checkpoint {path}: has no entry {key!r}; give a checkpoint of stnuclei or of CellViT")
    tensors, config = content["model_state_dict"], flat(content["config"])
    settings = _settings(str(content["arch"]), config, tensors, path)
    with torch.device("meta"):
        model = network_of(settings)
    load_strictly(model, tensors, f"checkpoint {path}", assign=True)
    return channels_last(model).eval(), _metadata(content, config, settings)


def _metadata(content: Mapping[str, Any], config: Mapping[str, Any], settings: ModelSettings) -> dict[str, Any]:
    taxonomy = content.get("taxonomy")
    names = _numbered(config, "dataset_config.nuclei_types.", settings.nuclei_classes, "class")
    if taxonomy:
        names = ["Background", *(entry["name"] for entry in taxonomy["classes"])]
    tissues = content.get("tissues")
    if tissues is None:
        tissues = _numbered(config, "dataset_config.tissue_types.", settings.tissues, "tissue")
    return {
        "arch": content["arch"],
        "architecture": settings.architecture.name,
        "config": config,
        "taxonomy": taxonomy,
        "classes": names,
        "tissues": list(tissues),
        "mean": tuple(config.get("transformations.normalize.mean", NORMALISATION)),
        "std": tuple(config.get("transformations.normalize.std", NORMALISATION)),
        "um_per_px": config.get("um_per_px"),
        "epoch": content.get("epoch"),
        "provenance": content.get("provenance") or {},
    }


def _numbered(config: Mapping[str, Any], prefix: str, count: int, word: str) -> list[str]:
    """Names by number from a flat config's ``prefix<name>: number``; ``word 3`` where there is none."""
    names = {v: key[len(prefix) :] for key, v in config.items() if key.startswith(prefix) and isinstance(v, int)}
    return [names.get(i, f"{word} {i}") for i in range(count)]


def _settings(arch: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: str | Path) -> ModelSettings:
    """Settings of the model, from the file's config and from its shapes, which must agree."""
    needed = (TYPES, BINARY) if arch == LIGHT else (TYPES, BINARY, EMBED)
    if not all(name in tensors for name in needed):
        raise UserError(f"checkpoint {path}: lacks the tensors of a CellViT ({', '.join(needed)})")
    pixels = 4 if arch == LIGHT else 1  # its heads give four pixels at a time
    classes = len(tensors[TYPES]) // pixels
    tissues = next((len(tensors[name]) for name in TISSUES if name in tensors), 0)
    for key, count in (("data.num_nuclei_classes", classes), ("data.num_tissue_classes", tissues)):
        # Official files always name a tissue count; that of a model without the head says nothing.
        if config.get(key) not in (None, count) and count:
            raise UserError(f"checkpoint {path}: config says {key} = {config[key]}, its tensors say {count}")
    rates = {key: float(config[f"model.{key}"]) for key in RATES if f"model.{key}" in config}
    regression = len(tensors[BINARY]) == 4 * pixels
    normalised: dict[str, Any] = {
        name: tuple(config.get(f"transformations.normalize.{name}", NORMALISATION)) for name in ("mean", "std")
    }
    architecture = replace(_architecture(arch, config, tensors, path), **normalised)
    return ModelSettings(architecture, classes, tissues, regression, rates)


def _architecture(
    arch: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: str | Path
) -> Architecture:
    if arch == LIGHT:
        sizes = {key: tuple(config[f"model.light.{key}"]) for key in ("channels", "blocks")}
        return replace(ARCHITECTURES["cellvit-light"], light=LightSizes(**sizes))
    dim = len(tensors[EMBED])
    if arch == "CellViTSAM":
        for sam in ARCHITECTURES.values():
            if sam.is_sam and sam.dim == dim:
                return sam
        raise UserError(f"checkpoint {path}: there is no SAM encoder of width {dim}")
    if arch == FOUNDATION:
        published = find_architecture(str(config.get("model.architecture")))
    elif arch in KNOWN:
        published = ARCHITECTURES[KNOWN[arch]]
    else:
        listed = ", ".join(("CellViTSAM", *KNOWN, FOUNDATION))
        raise UserError(f"checkpoint {path}: arch {arch!r} is not supported; known are {listed}")
    return published if arch == "CellViT256" else _resized(published, config, dim)


def _resized(published: Architecture, config: Mapping[str, Any], dim: int) -> Architecture:
    """Sizes that a file states, where they are not the published ones."""
    sizes = {"dim": "embed_dim", "depth": "depth", "heads": "num_heads", "skips": "extract_layers", "grid": "grid"}
    given = {ours: config[f"model.{key}"] for ours, key in sizes.items() if f"model.{key}" in config}
    given["skips"] = tuple(given.get("skips", published.skips))
    # CellViT++'s files say nothing of the gate: its code computes GELU whatever the encoder was trained with.
    given["gate"] = str(config.get("model.gate", "gelu"))
    widths = {key.rsplit(".", 1)[1]: value for key, value in config.items() if key.startswith("model.widths.")}
    return replace(published, **{"dim": dim, **given}, widths=Widths(**widths) if widths else None)


def _official_config(settings: ModelSettings, taxonomy: Taxonomy, tissues: list[str]) -> dict[str, Any]:
    """The keys official code reads, and the sizes of a network that is not one of the published."""
    sizes = settings.architecture
    config: dict[str, Any] = {
        "data.num_nuclei_classes": settings.nuclei_classes,
        "data.num_tissue_classes": settings.tissues,
        "model.backbone": sizes.backbone,
        "model.regression_loss": settings.regression,
        "model.embed_dim": sizes.dim,
        "model.depth": sizes.depth,
        "model.num_heads": sizes.heads,
        "model.extract_layers": list(sizes.skips),
        "transformations.normalize.mean": list(sizes.mean),
        "transformations.normalize.std": list(sizes.std),
        "training.mixed_precision": True,
        "dataset_config.nuclei_types.Background": 0,
        **{f"dataset_config.nuclei_types.{c.name}": c.id for c in taxonomy.classes},
        **{f"dataset_config.tissue_types.{name}": i for i, name in enumerate(tissues)},
        **{f"model.{key}": rate for key, rate in settings.rates.items()},
    }
    return config | _own_sizes(sizes)


def _own_sizes(sizes: Architecture) -> dict[str, Any]:
    """Entries that no official file has: what the name alone does not say of a network of ours."""
    if sizes.light is not None:
        return {f"model.light.{key}": list(value) for key, value in asdict(sizes.light).items()}
    config: dict[str, Any] = {}
    if sizes.vit is not None:
        config |= {"model.architecture": sizes.name, "model.gate": sizes.gate, "model.grid": sizes.grid}
    if sizes.widths is not None or not sizes.has_official_code:
        widths = sizes.widths or Widths.published(sizes.dim)
        config |= {"model.grid": sizes.grid, **{f"model.widths.{key}": value for key, value in asdict(widths).items()}}
    return config


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, keys joined by dots, values plain."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = plain(value)
    return out


def plain(value: Any) -> Any:
    """Only what a safe reader accepts: dicts, lists, strings, numbers, booleans, None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | Tensor):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
