"""Undecided nuclei and confidences on their way from the label table to the targets."""

import numpy as np
import pandas as pd
import pytest
import torch

from stnuclei.errors import UserError
from stnuclei.loading.batches import batch_targets
from stnuclei.loading.collection import Collection
from stnuclei.loading.loader import PatchLoader
from stnuclei.patches import PatchStore, nucleus_labels, patch_classes
from stnuclei.taxonomy import Taxonomy

PANNUKE = Taxonomy.load("pannuke")
NEOPLASTIC, EPITHELIAL = 1, 5


def relabel(source, alternatives_of=None):
    """Give a source's labels confidences, and alternatives where a function of the label names them."""
    table = pd.read_parquet(source.labels)
    table["confidence"] = np.linspace(0.1, 0.9, len(table), dtype=np.float32)
    if alternatives_of:
        table["alternatives"] = [alternatives_of(label) for label in table["label"]]
    table.to_parquet(source.labels)
    return table


def undecided_tumour(label):
    return "Epithelial|Neoplastic" if label in ("Epithelial", "Neoplastic") else ""


def test_sets_as_bits():
    bits = PANNUKE.encode_sets(
        ["Epithelial", "Unknown", "Connective", "Epithelial"], ["Epithelial|Neoplastic", "", "", ""]
    )
    assert bits.tolist() == [1 << EPITHELIAL | 1 << NEOPLASTIC, 0, 1 << 3, 1 << EPITHELIAL]
    with pytest.raises(UserError, match="do not hold the label 'Connective'"):
        PANNUKE.encode_sets(["Connective"], ["Epithelial|Neoplastic"])
    with pytest.raises(UserError, match="'Unknown', which is no class"):
        PANNUKE.encode_sets(["Connective"], ["Connective|Unknown"])
    with pytest.raises(UserError, match="'Tumour' is not in taxonomy"):
        PANNUKE.encode_sets(["Connective"], ["Connective|Tumour"])


def test_a_store_gives_classes_sets_and_confidence(source_of):
    source = source_of("a", 6)
    plain = nucleus_labels(PatchStore(source.patches), source.labels, PANNUKE)
    assert plain.allowed is None and (plain.confidence == 1).all()
    table = relabel(source, undecided_tumour)
    store = PatchStore(source.patches)
    labels = nucleus_labels(store, source.labels, PANNUKE)
    assert np.array_equal(labels.classes, plain.classes)
    assert np.array_equal(labels.classes, patch_classes(store, source.labels, PANNUKE))
    assert np.array_equal(labels.confidence, table["confidence"].to_numpy()[store.cell_index[:]])
    both = np.isin(labels.classes, (NEOPLASTIC, EPITHELIAL))
    assert both.any() and (labels.allowed[both] == (1 << EPITHELIAL | 1 << NEOPLASTIC)).all()
    assert np.array_equal(labels.allowed[~both], labels.single[~both])
    table.assign(alternatives="Connective|Neoplastic").to_parquet(source.labels)
    with pytest.raises(UserError, match="manual.parquet: alternatives"):
        nucleus_labels(store, source.labels, PANNUKE)


def test_batches_carry_sets_only_where_a_source_has_them(source_of):
    sources = [source_of("a", 5), source_of("b", 4)]
    batch = next(iter(PatchLoader(sources, PANNUKE, 9, np.arange(9))))
    assert "allowed" not in batch
    assert "allowed" not in batch_targets(batch, batch["instances"])
    relabel(sources[1], undecided_tumour)
    batch = next(iter(PatchLoader(sources, PANNUKE, 9, np.arange(9))))
    classes, allowed = batch["classes"].int(), batch["allowed"]
    single = torch.where(classes > 0, 1 << classes.clamp(min=0), 0)
    both = (classes == NEOPLASTIC) | (classes == EPITHELIAL)
    assert torch.equal(allowed[:5], single[:5].int())
    assert both[5:].any() and (allowed[5:][both[5:]] == (1 << EPITHELIAL | 1 << NEOPLASTIC)).all()
    assert torch.equal(allowed[5:][~both[5:]], single[5:][~both[5:]].int())


def test_targets_of_a_batch_by_pixel(source_of):
    source = source_of("a", 5)
    table = relabel(source, undecided_tumour)
    batch = next(iter(PatchLoader([source], PANNUKE, 5, np.arange(5))))
    targets = batch_targets(batch, batch["instances"], weighted=True)
    store = PatchStore(source.patches)
    for i in range(5):
        rows = store.cell_index[:][store.offset[i] : store.offset[i + 1]]
        for k, row in enumerate(rows):
            pixels = batch["instances"][i] == k + 1
            expected = PANNUKE.encode_sets([table["label"][row]], [table["alternatives"][row]])[0]
            assert (targets["allowed"][i][pixels] == expected).all()
            assert torch.allclose(targets["weight"][i][pixels], torch.tensor(table["confidence"][row]))
    background = batch["instances"] == 0
    assert (targets["allowed"][background] == 1).all() and (targets["weight"][background] == 1).all()
    assert "weight" not in batch_targets(batch, batch["instances"])


def test_other_alternatives_or_confidences_are_another_run(source_of):
    source = source_of("a", 5)
    prints = [Collection.open([source], PANNUKE).fingerprint()]
    relabel(source)
    prints.append(Collection.open([source], PANNUKE).fingerprint())
    relabel(source, undecided_tumour)
    prints.append(Collection.open([source], PANNUKE).fingerprint())
    assert len(set(prints)) == 3
