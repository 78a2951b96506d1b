"""Taxonomies are data, checked when read."""

import copy

import numpy as np
import pytest

from stnuclei.errors import UserError
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
