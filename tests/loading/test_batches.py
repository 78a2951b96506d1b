"""Batches come in order, ahead of their use, and their source is closed when the user leaves."""

import threading

import numpy as np
import pytest
import torch

from stnuclei.errors import UserError
from stnuclei.loading.batches import on_device
from stnuclei.loading.collection import Collection
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.validation import Tally, sample

CPU = torch.device("cpu")


def counting(n, closed=None, fail_at=None):
    try:
        for i in range(n):
            if i == fail_at:
                raise UserError("patch 3 of a.zarr cannot be read")
            yield {"image": np.full((2, 3), i), "index": np.arange(2)}
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_in_order_and_as_tensors():
    seen = list(on_device(counting(5), CPU))
    assert [int(batch["image"][0, 0]) for batch in seen] == list(range(5))
    assert all(isinstance(value, torch.Tensor) for value in seen[0].values())


def test_leaving_early_ends_thread_and_source():
    closed = []
    batches = on_device(counting(100, closed), CPU)
    next(batches)
    batches.close()
    del batches
    assert not [t for t in threading.enumerate() if t.name.startswith("stnuclei-batches")]
    assert len(closed) == 1


def test_an_error_of_the_loader_arrives():
    with pytest.raises(UserError, match="patch 3"):
        list(on_device(counting(5, fail_at=3), CPU))


def test_collection_counts_classes_tissues_and_names(sources, settings):
    data = Collection.open(sources, Taxonomy.load("pannuke"))
    assert len(data) == 32 and data.first.tolist() == [0, 20, 32]
    assert data.tissues == ("Breast", "Colon") and data.tissue.tolist() == [0] * 20 + [1] * 12
    assert not data.presence[:, 3:].any()  # no Dead, no Epithelial drawn
    loader = data.loader(Taxonomy.load("pannuke"), len(data), 1)
    loader.sampler = np.arange(len(data))
    classes = next(iter(loader))["classes"]
    for c in (1, 2, 3):
        assert np.array_equal((classes == c).any(1).numpy(), data.presence[:, c - 1])
        assert int((classes == c).sum()) == data.nuclei[c - 1]
    assert data.name_of(21).endswith("b.zarr[1]")
    assert data.fingerprint() != Collection.open(sources[:1], Taxonomy.load("pannuke")).fingerprint()


def test_validation_sample_is_the_same_each_time():
    assert np.array_equal(sample(100, 10, 3), sample(100, 10, 3))
    assert len(np.unique(sample(100, 10, 3))) == 10
    assert np.array_equal(sample(5, 10, 3), np.arange(5)) and np.array_equal(sample(5, None, 3), np.arange(5))


def test_scores_by_hand():
    tally = Tally(2)
    tally.patches, tally.with_nuclei, tally.loss, tally.pq, tally.dice = 4.0, 2.0, 8.0, 1.0, 1.5
    # true class 1: three hits, one of them called 2, one missed; class 2: one hit; Unknown: a hit; one invented
    tally.pairs[1] = [1, 2, 1]
    tally.pairs[2] = [0, 0, 1]
    tally.pairs[3] = [0, 1, 0]
    tally.pairs[0] = [0, 1, 0]
    scores = tally.scores(("A", "B"))
    assert (scores["loss"], scores["bpq"], scores["dice"]) == (2.0, 0.5, 0.75)
    assert scores["detection_f1"] == pytest.approx(2 * 5 / (2 * 5 + 1 + 1))
    assert scores["f1_A"] == pytest.approx(2 * 2 / (2 * 2 + 1)) and scores["f1_B"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    other = Tally(2)
    other.unpack(tally.pack())
    other.add(tally)
    assert other.scores(("A", "B"))["bpq"] == 0.5 and other.patches == 8


def test_no_nuclei_no_scores():
    assert Tally(2).scores(("A", "B")) == {"patches": 0.0}
