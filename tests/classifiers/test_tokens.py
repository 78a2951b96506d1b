"""Token stores: the vectors of every nucleus, once, streamed and identified."""

import numpy as np
import pytest

from stnuclei.cellvit.nuclei import measure
from stnuclei.cellvit.nucleus_tokens import TokenGrid, nucleus_vectors
from stnuclei.classifiers import TokenStore, extract_tokens, token_store
from stnuclei.classifiers.extract import PAIR_UM
from stnuclei.errors import UserError
from stnuclei.patches import PatchStore
from stnuclei.prediction import Predictor


def test_every_nucleus_has_its_vector(checkpoint, stores, tokens):
    store, read = PatchStore(stores[0]), TokenStore(tokens[0])
    assert len(read) == len(store.cell_index) and np.array_equal(read.cell_index, store.cell_index)
    assert np.array_equal(read.nucleus, np.arange(len(read))) and np.array_equal(read.offset, store.offset)
    out = Predictor(checkpoint, "cpu").model(
        (torch_of(store.image[3]) / 255 - 0.5) / 0.5, tokens=True
    )["tokens"][0].detach().permute(1, 2, 0).numpy()  # fmt: skip
    labels = store.instances[3]
    shapes = measure(labels)
    wanted = nucleus_vectors(TokenGrid(out, 16), labels, shapes.id, shapes.bbox, shapes.centroid, "box")
    rows = np.arange(store.offset[3], store.offset[4])
    assert np.allclose(read.read(rows), wanted, atol=2e-3 * np.abs(wanted).max())
    assert np.array_equal(read.read()[rows], read.read(rows))


def torch_of(image):
    import torch

    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def test_a_store_is_written_in_chunks_whatever_their_size(checkpoint, stores, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(token_store, "CHUNK_ROWS", 7)
    extract_tokens(checkpoint, stores[0], tmp_path / "t.zarr", batch_size=24)
    small, usual = TokenStore(tmp_path / "t.zarr"), TokenStore(tokens[0])
    assert np.allclose(small.read().astype(float), usual.read().astype(float), atol=1e-2)
    chosen = np.array([0, 6, 7, 50, 95])
    assert np.array_equal(small.read(chosen), small.read()[chosen])
    assert small.attrs["content_sha256"] and small.attrs["cost"]["patches"] == 24


def test_the_same_tokens_are_taken_once(checkpoint, stores, tokens, capsys):
    before = (tokens[0] / "zarr.json").stat().st_mtime_ns
    extract_tokens(checkpoint, stores[0], tokens[0])
    assert (tokens[0] / "zarr.json").stat().st_mtime_ns == before and "is there already" in capsys.readouterr().out


def test_the_networks_own_nuclei_are_paired_with_the_runs(checkpoint, stores, tmp_path, monkeypatch):
    """A network whose maps are the truth finds the run's nuclei; those far from any are left out."""
    import torch

    from stnuclei.cellvit.targets import hv_maps

    store = PatchStore(stores[0])
    truth = {image.tobytes(): store.instances[i] for i, image in enumerate(store.image)}

    def tensors(self, images, tokens=False):
        labels = np.stack([truth[image.tobytes()] for image in images]).astype(np.int32)
        labels[labels == 4] = 0  # a nucleus that the network does not see
        shown = torch.from_numpy(labels)
        types = torch.nn.functional.one_hot((shown > 0).long(), 6).permute(0, 3, 1, 2).float()
        grid = torch.from_numpy(images.astype(np.float32))[:, 8::16, 8::16].repeat(1, 1, 1, 32)
        return (shown > 0).float(), hv_maps(shown), types, *([grid] if tokens else [])

    monkeypatch.setattr(Predictor, "tensors", tensors)
    extract_tokens(checkpoint, stores[0], tmp_path / "own.zarr", nuclei="network", tokens="nucleus")
    own = TokenStore(tmp_path / "own.zarr")
    assert len(own) == 3 * len(store) and PAIR_UM == 3.75
    seen = np.flatnonzero(np.arange(len(store.cell_index)) % 4 != 3)
    assert np.array_equal(own.nucleus, seen) and np.array_equal(own.cell_index, store.cell_index[seen])
    assert np.array_equal(own.patch, np.repeat(np.arange(len(store)), 3))


def test_a_store_of_something_else_is_refused(stores):
    with pytest.raises(UserError, match="not one of tokens"):
        TokenStore(stores[0])
