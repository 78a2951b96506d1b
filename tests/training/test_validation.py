"""The collection of patches a run reads, and the scores of its validation."""

import threading

import numpy as np
import pytest
import torch

from stnuclei.loading.collection import Collection
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import validation
from stnuclei.training.distributed import ProcessGroup
from stnuclei.training.failures import StopRequest
from stnuclei.training.run import prepare
from stnuclei.training.validation import ValidationSums, deal, sample, validate


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


class Member(ProcessGroup):
    """One of several processes, which shows what it would send to the others."""

    def sum(self, values):
        Member.sent.append(values.numpy())
        return values


def test_neither_processes_nor_parts_of_a_batch_change_the_scores(sources, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(Member, "sent", [], raising=False)
    monkeypatch.setattr("stnuclei.training.validation.BATCH", 5)
    alone, classes = ProcessGroup(0, 1, torch.device("cpu")), Taxonomy.load("pannuke")
    run, _ = prepare(sources, sources, tmp_path, settings, classes, alone, StopRequest())
    scores = validate(run, 27)
    run.settings = settings.replace(batch_size=6)
    assert validate(run, 27) == pytest.approx(scores, rel=1e-5)
    calls = []
    for rank in (0, 1, 2):
        run.group = Member(rank, 3, alone.device)
        validate(run, 27, lambda rank=rank: calls.append(rank))
    assert calls == [0, 0, 1, 1, 2, 2]  # each waits for the others the same number of times
    together = ValidationSums(len(classes.classes))
    together.unpack(sum(Member.sent))
    assert together.scores(classes.names) == pytest.approx(scores, rel=1e-5)


def test_the_device_computes_while_nuclei_are_separated(sources, settings, tmp_path, monkeypatch):
    """The scores of the first batch wait here until the network was called for the second: no deadlock, no timeout."""
    monkeypatch.setattr(validation, "BATCH", 8)
    alone, classes = ProcessGroup(0, 1, torch.device("cpu")), Taxonomy.load("pannuke")
    run, _ = prepare(sources, sources, tmp_path, settings, classes, alone, StopRequest())
    expected, second, calls, in_time = validate(run, 16), threading.Event(), [], []
    real_outputs, real_score = validation._outputs, validation.score_patch

    def outputs(run, images):
        calls.append(len(images))
        if len(calls) == 2:
            second.set()
        return real_outputs(run, images)

    def score(*patch):
        in_time.append(second.wait(60))
        return real_score(*patch)

    monkeypatch.setattr(validation, "_outputs", outputs)
    monkeypatch.setattr(validation, "score_patch", score)
    assert validate(run, 16) == expected
    assert calls == [8, 8] and in_time == [True] * 16


def test_batches_are_dealt_out_whole():
    chosen = np.arange(100, 170)
    shares = [deal(chosen, rank, 3) for rank in range(3)]
    assert np.array_equal(np.sort(np.concatenate(shares)), chosen)
    assert shares[1].tolist() == [*range(116, 132), *range(164, 170)]


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
