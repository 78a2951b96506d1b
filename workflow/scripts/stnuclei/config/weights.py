"""Pretrained weights: by name, as a path, as a file on a hub, or as a URL; fetched once for all models.

Sizes, checksums, terms and sources of the named files: docs/training.md. What no source states is left out.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from stnuclei.config.encoders import ENCODERS, find_encoder
from stnuclei.config.model_files import file_problem
from stnuclei.errors import UserError, refuse, suggestion
from stnuclei.fetch import hub_url

#: Prefix of a file on the Hugging Face hub, ``hub:owner/name/file``; of encoders with a known file ``hub:owner/name``.
HUB = "hub:"
SCHEMES = ("http", "https", "file")
_SAM = "https://dl.fbaipublicfiles.com/segment_anything"
_TORCHVISION = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class Weights:
    """A public weight file.

    Parameters
    ----------
    file
        Its name.
    address
        Where it is fetched from.
    architectures
        Networks it fits (``training.architecture`` or ``expression.training.network``).
    terms
        Licence, in words.
    size
        Bytes; 0 where no source states them.
    sha256
        Checksum; empty where no source states it.
    page
        Page on which the terms have to be accepted first; empty where the file is open.
    """

    file: str
    address: str
    architectures: tuple[str, ...]
    terms: str
    size: int = 0
    sha256: str = ""
    page: str = ""

    @property
    def url(self) -> str:
        """Address with the checksum that `stnuclei.fetch` tests."""
        return f"{self.address}#sha256={self.sha256}" if self.sha256 else self.address

    def describe(self) -> str:
        """Size, source and terms in one phrase."""
        size = f"{self.size / 1e6:,.0f} MB, " if self.size else ""
        return f"{size}from {self.address}; {self.terms}"


def _named(file: str, address: str, fits: tuple[str, ...], terms: str, size: int = 0, sha256: str = "") -> Weights:
    return Weights(file, f"{address}/{file}", fits, terms, size, sha256)


#: Name in the configuration -> file.
WEIGHTS: dict[str, Weights] = {
    "hipt-vit256": _named(
        "vit256_small_dino.pth",
        "https://media.githubusercontent.com/media/mahmoodlab/HIPT/master/HIPT_4K/Checkpoints",
        ("cellvit-256", "vit-s16"),
        "Apache 2.0 with Commons Clause, non-commercial academic purposes",
        704_238_867,
        "6960cd5a8657dc8bb214671aa0c6dbd3f5b698e84386884955836487ddc89e24",
    ),
    "sam-vit-b": _named(
        "sam_vit_b_01ec64.pth", _SAM, ("cellvit-sam-b",), "Apache 2.0", 375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam-vit-l": _named(
        "sam_vit_l_0b3195.pth", _SAM, ("cellvit-sam-l",), "Apache 2.0", 1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam-vit-h": _named(
        "sam_vit_h_4b8939.pth", _SAM, ("cellvit-sam-h",), "Apache 2.0", 2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    **{
        entry.name: Weights(
            f"{entry.hub.replace('/', '--')}--{entry.file}",
            hub_url(entry.hub, entry.file),
            (entry.architecture,),
            entry.terms + ("; gated" if entry.gated else ""),
            page=f"https://huggingface.co/{entry.hub}" if entry.gated else "",
        )
        for entry in ENCODERS.values()
        if entry.file
    },
    "imagenet-efficientnet-b0": _named(
        "efficientnet_b0_rwightman-7f5810bc.pth", _TORCHVISION, ("efficientnet-b0",),
        "BSD-3 code; ImageNet's terms for the weights", 21_444_401,
        "7f5810bc96def8f7552d5b7e68d53c4786f81167d28291b21c0d90e1fca14934",
    ),
    "imagenet-resnet-50": _named(
        "resnet50-0676ba61.pth", _TORCHVISION, ("resnet-50",), "BSD-3 code; ImageNet's terms for the weights",
        102_530_333, "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    # torchvision names the first eight digits of the checksum alone, and no source states the size in bytes.
    "imagenet-densenet-121": _named(
        "densenet121-a639ec97.pth", _TORCHVISION, ("densenet-121",), "BSD-3 code; ImageNet's terms for the weights",
    ),
}  # fmt: skip
#: Networks for trials on CPUs, to which no public file fits: whatever their file is called, its tensors count.
_TRIAL = ("cellvit-tiny", "efficientnet-tiny")
_BY_FILE = {weights.file: weights for weights in WEIGHTS.values()}


def is_url(weights: str | None) -> TypeGuard[str]:
    """True for a URL to fetch; false for a path, a name and None."""
    return weights is not None and urlsplit(weights).scheme in SCHEMES


def _source(weights: str) -> tuple[str, str] | None:
    """URL and local file name of weights that are fetched; None for a path.

    Many repositories call their file ``pytorch_model.bin``: on disk it has its repository before it.

    Raises
    ------
    UserError
        If a repository of the hub is named and no file of it is known.
    """
    if weights in WEIGHTS:
        return WEIGHTS[weights].url, WEIGHTS[weights].file
    if weights.startswith(HUB):
        return _on_hub(weights)
    return (weights, PurePosixPath(urlsplit(weights).path).name) if is_url(weights) else None


def _on_hub(weights: str) -> tuple[str, str]:
    name, mark, checksum = weights.removeprefix(HUB).partition("#")
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    hub = f"{owner}/{repository}"
    file = file or next((entry.file for entry in ENCODERS.values() if entry.hub == hub), "")
    if not repository or not file:
        raise UserError(f"{weights}: name the file of the hub, {HUB}{owner or 'owner'}/{repository or 'name'}/FILE")
    return hub_url(hub, file) + mark + checksum, f"{hub}/{file}".replace("/", "--")


def local_weights(weights: str | None, folder: str) -> str | None:
    """Path from which a network's weights are read.

    Parameters
    ----------
    weights
        Setting: None, a path, a name of `WEIGHTS`, a file on the hub (``hub:owner/name/file``), or a URL
        (``https://.../name.pth#sha256=...``).
    folder
        Where fetched files are kept.
    """
    source = _source(weights) if weights else None
    return f"{folder}/{source[1]}" if source else weights


def encoder_urls(config: Mapping[str, Any]) -> dict[str, str]:
    """File name -> URL of all weights that have to be fetched.

    Raises
    ------
    UserError
        If two URLs end in the same file name.
    """
    urls: dict[str, str] = {}
    for key, _, weights in _used(config):
        url, name = _source(weights) or ("", "")
        if url and urls.setdefault(name, url) != url:
            raise UserError(f"{key}: {urls[name]} and {url} end in the same file name; rename one")
    return urls


def weights_terms(weights: str) -> str:
    """Licence of weights by name, URL or the name of a fetched file; empty where it is not known."""
    known = WEIGHTS.get(weights) or _BY_FILE.get(PurePosixPath(urlsplit(weights).path).name)
    return known.terms if known else ""


def check_weights(config: Mapping[str, Any]) -> None:
    """Refuse names that are none, and named weights of another architecture; files are not looked at.

    Raises
    ------
    UserError
        With one line a problem: the model's setting and what is wrong.
    """
    problems = []
    for key, architecture, weights in _used(config):
        source = _source(weights)
        known = _BY_FILE.get(source[1] if source else PurePosixPath(weights).name)
        on_trial = architecture in _TRIAL and weights not in WEIGHTS
        if known is not None and _network(architecture) not in known.architectures and not on_trial:
            problems.append(f"{key}: {weights} is of {' and '.join(known.architectures)}, not of {architecture}")
        elif source is None and known is None and not {".", "/"} & set(weights):
            problems.append(f"{key}: {weights!r} is neither a name, a path nor a URL; {suggestion(weights, WEIGHTS)}")
    refuse("the configuration", problems)


def _network(architecture: str) -> str:
    """Name of a network that may be given by its encoder's hub id; names of the expression baseline stay."""
    try:
        encoder = find_encoder(architecture)
    except UserError:
        return architecture
    return encoder.architecture if encoder else architecture


def missing_weights(config: Mapping[str, Any], models: set[str]) -> list[str]:
    """One line for each file of weights that models about to be trained need and that is absent or not whole.

    Parameters
    ----------
    config
        The whole configuration.
    models
        Names of these models and expression baselines.
    """
    lines: dict[str, str] = {}
    for key, _, weights in _used(config, models):
        known = _BY_FILE.get(PurePosixPath(weights).name)
        if _source(weights) or weights in lines:
            continue
        if problem := file_problem(weights):
            source = f"; it is {known.describe()}" if known else ""
            lines[weights] = f"{key}: {weights} {problem}{source}"
    return list(lines.values())


def refused_weights(config: Mapping[str, Any], models: set[str], fetched: Container[str]) -> list[str]:
    """One line for each gated file that is about to be fetched without a token.

    Parameters
    ----------
    config
        The whole configuration.
    models
        Names of models and expression baselines about to be trained.
    fetched
        File names of weights that jobs are about to fetch.
    """
    if os.environ.get("HF_TOKEN"):
        return []
    lines: dict[str, str] = {}
    for key, _, weights in _used(config, models):
        page, source = _gate(weights), _source(weights)
        if page and source and source[1] in fetched:
            lines.setdefault(
                weights,
                f"{key}: {weights} is gated and HF_TOKEN is not set; accept the terms on {page} and set HF_TOKEN, or "
                "give a local file",
            )
    return list(lines.values())


def _gate(weights: str) -> str:
    """Page of the terms of gated weights, by name or on the hub; empty for others."""
    if weights in WEIGHTS:
        return WEIGHTS[weights].page
    hub = "/".join(weights.removeprefix(HUB).partition("#")[0].split("/")[:2]) if weights.startswith(HUB) else ""
    gated = (entry.hub for entry in ENCODERS.values() if entry.gated and entry.hub == hub)
    return next((f"https://huggingface.co/{name}" for name in gated), "")


def _used(config: Mapping[str, Any], models: set[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """(setting, architecture, weights) of the common blocks and of models; `models`: of these models alone."""
    expression = config.get("expression") or {"training": {}, "models": {}}
    blocks = (
        ("", config["training"], config["models"], "architecture", "encoder_weights"),
        ("expression.", expression["training"], expression["models"], "network", "weights"),
    )
    for prefix, common, entries, architecture, setting in blocks:
        if models is None and common.get(setting):
            yield f"{prefix}training.{setting}", common.get(architecture, ""), common[setting]
        for name, entry in entries.items():
            if models is not None and name not in models:
                continue
            training = {**common, **entry.get("training", {})}
            overridden = setting in entry.get("training", {})
            key = f"{prefix}models.{name}.training.{setting}" if overridden else f"{prefix}training.{setting}"
            if training.get(setting):
                yield key, training.get(architecture, ""), training[setting]
