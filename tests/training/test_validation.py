"""The collection of patches a run reads, and the scores of its validation."""

import numpy as np
import pytest

from stnuclei.loading.collection import Collection
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.validation import ValidationSums, sample


def test_collection_counts_classes_tissues_and_names(sources):
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
    sums = ValidationSums(2)
    sums.patches, sums.with_nuclei, sums.loss, sums.pq, sums.dice = 4.0, 2.0, 8.0, 1.0, 1.5
    # true class 1: three hits, one of them called 2, one missed; class 2: one hit; Unknown: a hit; one false positive
    sums.pairs[1] = [1, 2, 1]
    sums.pairs[2] = [0, 0, 1]
    sums.pairs[3] = [0, 1, 0]
    sums.pairs[0] = [0, 1, 0]
    scores = sums.scores(("A", "B"))
    assert (scores["loss"], scores["bpq"], scores["dice"]) == (2.0, 0.5, 0.75)
    assert scores["detection_f1"] == pytest.approx(2 * 5 / (2 * 5 + 1 + 1))
    assert scores["f1_A"] == pytest.approx(2 * 2 / (2 * 2 + 1)) and scores["f1_B"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    other = ValidationSums(2)
    other.unpack(sums.pack())
    other.add(sums)
    assert other.scores(("A", "B"))["bpq"] == 0.5 and other.patches == 8


def test_no_nuclei_no_scores():
    assert ValidationSums(2).scores(("A", "B")) == {"patches": 0.0}
