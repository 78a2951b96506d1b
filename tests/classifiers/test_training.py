"""Training of classifiers: they learn, respect sets and weights, stop early, and are the same by seed."""

import numpy as np
import pandas as pd
import pytest
import torch

from stnuclei.cellvit import load_classifier
from stnuclei.cellvit.losses import cellvit_losses
from stnuclei.classifiers import TokenSource, TokenStore, cost_note, train_classifier
from stnuclei.classifiers.examples import Examples, read_examples
from stnuclei.classifiers.fit import class_weight, fit, set_loss
from stnuclei.config.classifiers import ClassifierSettings
from stnuclei.errors import UserError
from stnuclei.patches import patch_classes
from stnuclei.taxonomy import Taxonomy

PANNUKE = Taxonomy.load("pannuke")


@pytest.fixture(scope="module")
def sources(tokens):
    return [TokenSource(path, path.parent / "labels.parquet") for path in tokens]


def made(n=600, dim=10, seed=0, spread=1.0):
    """Examples of three classes about three centres."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    centres = np.random.default_rng(9).normal(0, 3, (3, dim))
    vectors = (centres[classes] + rng.normal(0, spread, (n, dim))).astype(np.float16)
    return Examples(vectors, classes, (1 << classes).astype(np.int32), np.ones(n, np.float32), np.arange(n) // 4)


@pytest.mark.parametrize("hidden", [0, 32])
def test_a_classifier_learns_and_is_written_whole(sources, tmp_path, hidden):
    settings = ClassifierSettings(hidden=hidden, epochs=40, batch_size=32, learning_rate=5e-3)
    result = train_classifier(sources[:1], tmp_path, "pannuke", validation=sources[1:], settings=settings)
    classifier, store = load_classifier(tmp_path / "classifier.pt"), TokenStore(sources[1].tokens)
    predicted = classifier.probabilities(store.read()).argmax(1)
    truth = patch_classes(store, sources[1].labels, PANNUKE)
    right = (predicted == truth).mean()
    assert right > 0.9 and right == pytest.approx(result["val_accuracy"], abs=0.02)
    assert classifier.provenance["checkpoint"] == store.attrs["model"]["sha256"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "classifier.pt", "history.csv", "curves.png", "confusion.png", "cost.tsv"
    }  # fmt: skip
    cost = pd.read_csv(tmp_path / "cost.tsv", sep="\t")
    assert list(cost["step"]) == ["tokens", "tokens", "head"] and (cost["cpu_seconds"] > 0).all()
    assert set(cost["device"]) == {"cpu"}


def test_the_seed_decides(sources, tmp_path):
    settings = ClassifierSettings(epochs=3, batch_size=32)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_classifier(sources, tmp_path / name, settings=settings.replace(seed=seed))
    heads = [load_classifier(tmp_path / name / "classifier.pt").head.fc1.weight for name in "abc"]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_held_out_patches_share_none_with_the_others(sources):
    from stnuclei.classifiers.train import split_examples

    train, held_out = split_examples(sources, [], PANNUKE, ClassifierSettings(validation_fraction=0.25))
    assert not set(train.patch) & set(held_out.patch) and len(set(held_out.patch)) == 12
    assert len(train) + len(held_out) == 2 * 96


def test_unknown_is_left_out_and_sets_are_read(tokens, sources):
    table = pd.read_parquet(sources[0].labels).assign(alternatives="", confidence=np.float32(0.5))
    table.loc[:9, "label"] = "Unknown"
    table.loc[10:19, ["label", "alternatives"]] = ["Epithelial", "Epithelial|Neoplastic"]
    path = tokens[0].parent / "sets.parquet"
    table.to_parquet(path)
    examples = read_examples([TokenSource(tokens[0], path)], PANNUKE, "confidence")
    ids = {name: PANNUKE.id_of(name) - 1 for name in PANNUKE.names}
    both = (1 << ids["Epithelial"]) | (1 << ids["Neoplastic"])
    assert len(examples) == 96 - 10 and (examples.allowed == both).sum() == 10 and (examples.weight == 0.5).all()


def test_the_loss_is_that_of_the_class_branch():
    """-log of the probability within the set: the cross-entropy term of the network's loss, on one-pixel pictures."""
    torch.manual_seed(0)
    logits, allowed = torch.randn(8, 4), torch.tensor([1, 2, 4, 8, 3, 6, 12, 15])
    outputs = {"nuclei_binary_map": torch.zeros(8, 2, 1, 1), "hv_map": torch.zeros(8, 2, 1, 1)}
    # The network's classes are followed here by no background: channels and bits are the same.
    outputs["nuclei_type_map"] = logits.view(8, 4, 1, 1)
    ones = torch.ones(8, 1, 1, dtype=torch.int64)
    targets = {"instances": ones, "types": ones, "allowed": allowed.view(8, 1, 1).int(), "tissue": ones[:, 0, 0] * -1}
    targets["hv"] = torch.zeros(8, 2, 1, 1)
    wanted = cellvit_losses(outputs, targets)["nt_bce"]
    assert float(set_loss(logits, allowed, torch.ones(8))) == pytest.approx(float(wanted), rel=1e-5)
    # Split however within the set, nothing is lost.
    sure = torch.tensor([[20.0, 20.0, -20.0, -20.0]])
    assert float(set_loss(sure, torch.tensor([3]), torch.ones(1))) == pytest.approx(0, abs=1e-6)


def test_undecided_labels_teach_what_they_allow():
    """Nuclei labelled 0|1 with the label 0 throughout: class 1 is learned from the decided ones alone."""
    train, held_out = made(900), made(300, seed=1)
    undecided = np.random.default_rng(0).random(900) < 0.7
    lineage = train.classes < 2
    classes = np.where(undecided & lineage, 0, train.classes)
    sets = np.where(undecided & lineage, 0b11, train.allowed).astype(np.int32)
    taxonomy = three_classes()
    settings = ClassifierSettings(hidden=16, epochs=30, batch_size=64, class_weights="none", learning_rate=5e-3)
    scores = {}
    for name, allowed in (("sets", sets), ("labels", 1 << classes)):
        biased = Examples(train.vectors, classes, allowed.astype(np.int32), train.weight, train.patch)
        scores[name] = fit(biased, held_out, taxonomy, settings).history[-1]["val_accuracy"]
    assert scores["sets"] > 0.95 and scores["sets"] > scores["labels"] + 0.05


def three_classes():
    classes = [{"id": k, "name": name, "color": "#000000"} for k, name in enumerate("abc", 1)]
    return Taxonomy.from_dict({"name": "abc", "classes": classes, "unknown": {"name": "U", "color": "#000000"}})


def test_training_stops_when_nothing_improves():
    settings = ClassifierSettings(hidden=8, epochs=200, patience=3, batch_size=64, learning_rate=0.05)
    fitted = fit(made(300, spread=3.0), made(100, seed=1, spread=3.0), three_classes(), settings)
    assert len(fitted.history) == fitted.best + 3 < 200
    assert fitted.history[fitted.best - 1]["val_loss"] == min(row["val_loss"] for row in fitted.history)


def test_weights_of_classes():
    classes = np.array([0] * 90 + [1] * 10)
    for rule, wanted in (("none", 1), ("sqrt", 3), ("balanced", 9), ({"b": 5.0}, 5)):
        weight = class_weight(classes, ("a", "b", "c"), rule)
        assert weight[1] / weight[0] == pytest.approx(wanted) and weight[2] == 0
        assert weight[classes].mean() == pytest.approx(1)
    with pytest.raises(UserError, match="Tumour is no class"):
        class_weight(classes, ("a", "b", "c"), {"Tumour": 1.0})


def test_tokens_of_two_models_are_not_mixed(checkpoint, stores, sources, tmp_path):
    from stnuclei.classifiers import extract_tokens

    extract_tokens(checkpoint, stores[0], tmp_path / "centre.zarr", tokens="centre")
    other = TokenSource(tmp_path / "centre.zarr", sources[0].labels)
    with pytest.raises(UserError, match="not of one model and one choice"):
        train_classifier([sources[0], other], tmp_path / "out")


def test_a_class_that_nothing_teaches_is_named(tokens, sources, tmp_path, capsys):
    result = train_classifier(sources[:1], tmp_path, validation=sources[1:], settings=ClassifierSettings(epochs=1))
    classifier = load_classifier(tmp_path / "classifier.pt")
    assert "no nucleus to learn from is Dead, Epithelial: it will not give them" in capsys.readouterr().out
    assert classifier.provenance["absent"] == ["Dead", "Epithelial"] and result["nuclei"] == 96


def test_labels_that_teach_nothing_are_told(tokens, sources, tmp_path):
    table = pd.read_parquet(sources[0].labels)
    table.assign(label="Unknown").to_parquet(tmp_path / "unknown.parquet")
    with pytest.raises(UserError, match="no nucleus of first has a label"):
        train_classifier([TokenSource(tokens[0], tmp_path / "unknown.parquet")], tmp_path / "out")
    table.assign(label="T cell").to_parquet(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="label again or name the taxonomy it was made with"):
        train_classifier([TokenSource(tokens[0], tmp_path / "other.parquet")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_cost_is_said_in_a_sentence(tmp_path):
    rows = [{"step": "tokens", "set": "a", "patches": 1200, "seconds": 3.0, "cpu_seconds": 5.0, "device": "cuda"}]
    rows += [{"step": "tokens", "set": "b", "patches": 34, "seconds": 1.0, "cpu_seconds": 1.5, "device": "cuda"}]
    rows.append({"step": "head", "set": "all", "seconds": 2.0, "cpu_seconds": 2.25, "device": "cpu"})
    pd.DataFrame(rows).to_csv(tmp_path / "cost.tsv", sep="\t", index=False)
    (text,) = cost_note({"fine": tmp_path / "cost.tsv"})
    assert text.endswith("fine, tokens of 1,234 patches 4.0 s on CUDA (6.5 CPU s), head 2.0 s on CPU (2.2 CPU s).")
    assert cost_note({}) == []
