"""Taxonomies are data, checked when read."""

import copy
import re

import numpy as np
import pytest
import yaml

from stnuclei.errors import UserError
from stnuclei.markers import load_markers
from stnuclei.markers.name_rules import NameRules
from stnuclei.resources import resource
from stnuclei.taxonomy import Taxonomy


def test_pannuke_has_the_published_ids():
    taxonomy = Taxonomy.load("pannuke")
    assert taxonomy.names == ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")
    assert taxonomy.n_outputs == 6
    assert taxonomy.labels == ("Neoplastic", "Inflammatory", "Connective", "Epithelial", "Unknown")
    np.testing.assert_array_equal(taxonomy.encode(["Epithelial", "Unknown", "Dead"]), [5, -1, 4])
    assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["classes"][0].update(id=2), "ids must be 1, 2"),
        (lambda t: t["classes"][0].update(name="Dead"), "names must differ"),
        (lambda t: t["classes"][0].update(color="red"), "colour of Neoplastic must be #rrggbb"),
        (lambda t: t["roles"].update(epithelial="Gland"), "'Gland' is named in roles"),
        (lambda t: t.pop("unknown"), "needs name, classes"),
    ],
)
def test_a_wrong_file_is_refused(change, message):
    content = copy.deepcopy(Taxonomy.load("pannuke").to_dict())
    change(content)
    with pytest.raises(UserError, match=message):
        Taxonomy.from_dict(content)


def test_unknown_names_say_what_there_is():
    with pytest.raises(UserError, match="not shipped"):
        Taxonomy.load("panuke")
    with pytest.raises(UserError, match="'Stroma' is not in taxonomy pannuke"):
        Taxonomy.load("pannuke").encode(["Stroma"])


def test_fine_classes_collapse_to_pannukes():
    fine = Taxonomy.load("tissue11")
    assert len(fine.names) == 11 and len({c.color for c in fine.classes}) == 11
    assert set(fine.collapsed(fine.names)) == {"Neoplastic", "Epithelial", "Inflammatory", "Connective"}
    given = ["Mast cell", "Endothelial", "Unknown", "Neoplastic"]
    assert fine.collapsed(given).tolist() == ["Inflammatory", "Connective", "Unknown", "Neoplastic"]
    assert Taxonomy.from_dict(fine.to_dict()) == fine
    with pytest.raises(UserError, match="taxonomy pannuke does not collapse to tissue11"):
        Taxonomy.load("pannuke").collapsed(["Epithelial"], "tissue11")
    with pytest.raises(UserError, match="'Tumour' is not in taxonomy tissue11"):
        fine.collapsed(["Tumour"])
    content = fine.to_dict()
    content["collapse"]["pannuke"].pop("Mast cell")
    with pytest.raises(UserError, match="collapse.pannuke must map each class once; look at Mast cell"):
        Taxonomy.from_dict(content)
    content = fine.to_dict()
    content["classes"][0]["name"] = "a|b"
    with pytest.raises(UserError, match="which separates classes"):
        Taxonomy.from_dict(content)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CD8+ T cell", "T cell"), ("Natural killer cell", "T cell"), ("T helper 1 cell", "T cell"),
        ("Naive B cell", "B cell"), ("Plasma cell", "Plasma cell"), ("Plasmacytoid dendritic cell", "Macrophage"),
        ("Tumor-associated macrophage (TAM)", "Macrophage"), ("Kupffer cell", "Macrophage"), ("Mast cell", "Mast cell"),
        ("Neutrophil", "Neutrophil"), ("Lymphatic endothelial cell", "Endothelial"), ("Pericyte", "Smooth muscle"),
        ("Vascular smooth muscle cell(VSMC)", "Smooth muscle"), ("Cancer-associated fibroblast", "Fibroblast"),
        ("Hepatic stellate cell", "Fibroblast"), ("Goblet cell", "Epithelial"), ("Myoepithelial cell", "Epithelial"),
        ("Pancreatic islet cell", "Epithelial"), ("B cell lymphoma", "Unknown"), ("Adipocyte", "Unknown"),
    ],
)  # fmt: skip
def test_names_of_cell_types_in_fine_classes(name, expected):
    rules = NameRules.load(resource("markers", "name_rules.tsv"))
    fine = Taxonomy.load("tissue11")
    target = next((t for pattern, t in fine.rules if re.search(pattern, name.lower())), None)
    assert (target or fine.category(rules.rule_of(name).category)) == expected


def test_markers_vote_for_every_fine_class_but_neoplastic():
    markers = load_markers(taxonomy="tissue11")
    assert set(markers.categories) == set(markers.taxonomy.names) - {"Neoplastic"}
    breast = markers.for_tissue("Breast")
    votes = breast[breast["votes"]].groupby(["symbol", "category"])["n_rows"].sum().unstack(fill_value=0)
    for gene, expected in (("CD3E", "T cell"), ("MS4A1", "B cell"), ("CD68", "Macrophage"), ("PECAM1", "Endothelial"),
                           ("LUM", "Fibroblast"), ("EPCAM", "Epithelial")):  # fmt: skip
        assert votes.loc[gene].idxmax() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\n\tclasses: []", "is no YAML"),
        ("", "a taxonomy needs name, classes"),
        ("- 1", "a taxonomy needs name, classes"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Taxonomy.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(colapse={}), "unknown key 'colapse'; did you mean 'collapse'"),
        (lambda t: t["roles"].update(epithelail="Epithelial"), "unknown role 'epithelail'; did you mean 'epithelial'"),
        (lambda t: t["classes"][0].update(name="Background"), "class name 'Background'"),
        (lambda t: t["classes"][0].update(name=5), "class name 5"),
        (lambda t: t["classes"][0].update(color=None), "colour of Neoplastic must be #rrggbb in quotation marks"),
        (lambda t: t["classes"][0].update(expression="no"), "expression of Neoplastic must be true or false, not 'no'"),
        (lambda t: t.update(unknown="Unknown"), "needs name, classes"),
        (lambda t: t.update(rules=["plasma"]), "rules are pairs of pattern and class"),
        (lambda t: t.update(rules=[["(plasma", "Inflammatory"]]), r"pattern '\(plasma' of Inflammatory is no regular"),
        (lambda t: t.update(category_map=["Epithelial"]), "needs name, classes"),
    ],
)
def test_mistakes_in_a_file_of_ones_own_are_sentences(tmp_path, change, message):
    content = copy.deepcopy(Taxonomy.load("pannuke").to_dict())
    change(content)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        Taxonomy.load(path)
