import gzip
import shutil

import pandas as pd
import pytest

from stnuclei.errors import UserError
from stnuclei.markers import load_markers
from stnuclei.markers.build import TABLES, as_bytes, build_markers, build_tables, main
from stnuclei.markers.name_rules import NameRules
from stnuclei.markers.sources import load_sources
from stnuclei.markers.symbols import Symbols
from stnuclei.resources import resource
from stnuclei.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def originals(shared):
    folder = shared / "markers" / "originals"
    return {
        "panglaodb": str(folder / "PanglaoDB_markers_27_Mar_2020.tsv.gz"),
        "cellmarker": str(folder / "cellmarker2_human_rows.tsv.gz"),
        "cancersea": str(folder / "cancersea"),
    }


def test_tables_are_rebuilt_from_the_originals(originals, tmp_path):
    counts = build_markers(tmp_path, resource("markers"), originals)
    assert counts["panglaodb.tsv.gz"] == 7851 and counts["cancersea.tsv.gz"] == 1574
    for name in TABLES:
        shipped = resource("markers", name).read_bytes()
        # Another zlib may pack otherwise: the content is what must be the same everywhere.
        assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress(shipped), name
    build_markers(tmp_path / "again", resource("markers"), originals)
    assert all((tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes() for name in TABLES)


def test_header_of_a_packed_table_has_no_time_and_no_name():
    packed = as_bytes(pd.DataFrame({"a": [1]}))
    assert packed[3] == 0 and packed[4:8] == b"\0\0\0\0"


def test_cellmarker_is_read_from_an_xlsx_too(originals, tmp_path):
    rows = pd.read_csv(originals["cellmarker"], sep="\t", dtype=str, keep_default_na=False).head(300)
    mouse = rows.head(20).assign(species="Mouse")
    pd.concat([rows.assign(species="Human"), mouse]).to_excel(tmp_path / "Cell_marker_All.xlsx", index=False)
    rows.to_csv(tmp_path / "rows.tsv", sep="\t", index=False)
    for name in ("sources.yaml", "name_rules.tsv", "hgnc_symbols.tsv.gz", "hgnc_aliases.tsv.gz"):
        shutil.copy(resource("markers", name), tmp_path)
    text = (tmp_path / "sources.yaml").read_text()
    (tmp_path / "sources.yaml").write_text("\n".join(line for line in text.splitlines() if "sha256:" not in line))
    found = [
        build_tables(tmp_path, originals | {"cellmarker": str(tmp_path / file)})["cellmarker.tsv.gz"]
        for file in ("Cell_marker_All.xlsx", "rows.tsv")
    ]
    pd.testing.assert_frame_equal(*found)


def test_rebuild_from_the_command_line_reads_a_url(originals, tmp_path, capsys):
    url = "file://" + originals["panglaodb"]
    rest = [f"--{name}={originals[name]}" for name in ("cellmarker", "cancersea")]
    main(["--out", str(tmp_path), f"--panglaodb={url}", *rest])
    assert "panglaodb.tsv.gz: 7,851 rows" in capsys.readouterr().out


def test_another_version_or_an_absent_original_is_refused(tmp_path):
    (tmp_path / "other.tsv").write_text("species\tofficial gene symbol\tcell type\torgan\n")
    sources = load_sources(resource("markers", "sources.yaml"), {"panglaodb": str(tmp_path / "other.tsv")})
    with pytest.raises(UserError, match="panglaodb.*SHA-256"):
        sources["panglaodb"].fetch(tmp_path)
    sources = load_sources(resource("markers", "sources.yaml"), {"panglaodb": str(tmp_path / "none.tsv")})
    with pytest.raises(UserError, match="does not exist"):
        sources["panglaodb"].fetch(tmp_path)


def test_literal_cancer_set_is_the_one_that_was_measured(markers, shared):
    measured = pd.read_csv(shared / "markers/neoplastic_sets.tsv.gz", sep="\t", keep_default_na=False)
    sets = measured.groupby("set")["symbol"].agg(frozenset)
    assert markers.cancer_sets["A3"] == sets["A3"] and markers.cancer_sets["CANCERSEA"] == sets["A2"]
    union, common = markers.cancer_sets["REC2"] | sets["REC2"], markers.cancer_sets["REC2"] & sets["REC2"]
    assert len(common) / len(union) > 0.97
    assert markers.cancer_sets["REC"] <= markers.cancer_sets["REC2"]


@pytest.mark.parametrize(
    ("name", "category", "votes", "malignant"),
    [
        ("Endothelial cell", "Connective", True, False),
        ("Myoepithelial cells", "Epithelial", True, False),
        ("Goblet cell", "Epithelial", True, False),
        ("Tuft cells", "Epithelial", True, False),
        ("T cell", "Inflammatory", True, False),
        ("Club cell", "Epithelial", True, False),
        ("Ductal cell", "Epithelial", True, False),
        ("Osteoclast", "Inflammatory", True, False),
        ("Hepatic stellate cell", "Connective", True, False),
        ("Follicular dendritic cell", "Connective", True, False),
        ("Cancer-associated fibroblast", "Connective", True, False),
        ("Tumor-associated macrophage (TAM)", "Inflammatory", True, False),
        ("Cancer stem cell", "Unknown", False, True),
        ("Neuron", "Unknown", True, False),
        ("Epithelial-mesenchymal cell", "Unknown", False, False),
        ("Stem cell", "Unknown", False, False),
    ],
)
def test_names_fall_where_substrings_would_not(name, category, votes, malignant):
    rule = NameRules.load(resource("markers", "name_rules.tsv")).rule_of(name)
    assert (rule.category, rule.votes, rule.malignant) == (category, votes, malignant)


def test_bad_rule_tables_are_refused(tmp_path):
    path = tmp_path / "rules.tsv"
    path.write_text("priority\trule\tregex\tcategory\tvotes\n")
    with pytest.raises(UserError, match="malignant"):
        NameRules.load(path)
    path.write_text("priority\trule\tregex\tcategory\tvotes\tmalignant\n1\tx\t(\tA\t1\t0\n")
    with pytest.raises(UserError, match="rule x"):
        NameRules.load(path)


def test_symbols_by_alias():
    symbols = Symbols.load(resource("markers"))
    assert symbols.alias("CD20") == "MS4A1" and symbols.alias("MS4A1") == "MS4A1"
    assert symbols.alias("Sept6") == "SEPTIN6" and symbols.alias("BLANK_0012") == "BLANK_0012"
    assert list(symbols.translate(["CD20", "CD20", "EPCAM"])) == ["MS4A1", "MS4A1", "EPCAM"]
    assert symbols.knows("HER2") and not symbols.knows("NegControlProbe_1")


def test_tissue_facts_hold_shared_organs_and_no_fetal_types(markers):
    breast = markers.for_tissue("Breast")
    votes = breast[breast["votes"] & (breast["database"] == "PanglaoDB")]
    assert set(votes["category"]) >= {"Epithelial", "Inflammatory", "Connective"}
    alone = markers.for_tissue("Breast", shared=False)
    assert set(alone.loc[alone["database"] == "PanglaoDB", "category"]) == {"Epithelial"}
    assert not markers.for_tissue("Kidney")["organ"].str.contains("etal kidney").any()


def test_tissues_go_by_alias_and_typos_get_the_nearest(markers):
    assert markers.tissue("ovary") == "Ovarian" and markers.tissue("HeadNeck") == "Head and neck"
    assert markers.tissue("Bile-duct") == "Bile duct" and markers.tissue("Adrenal_gland") == "Adrenal gland"
    with pytest.raises(UserError, match="did you mean 'Breast'"):
        markers.for_tissue("Brest")


def test_hest_and_pannuke_tissues_are_all_mapped(markers):
    hest = ["Bowel", "Breast", "Kidney", "Liver", "Lung", "Ovary", "Pancreas", "Prostate", "Skin"]
    hest += ["Bone", "Brain", "Heart", "Lymphoid"]
    pannuke = ["Adrenal_gland", "Bile-duct", "Bladder", "Cervix", "Colon", "Esophagus", "HeadNeck", "Ovarian"]
    pannuke += ["Pancreatic", "Stomach", "Testis", "Thyroid", "Uterus"]
    for tissue in hest + pannuke:
        assert len(markers.for_tissue(tissue)) > 1000, tissue


@pytest.mark.parametrize(
    ("taxonomy", "cell_type", "expected"),
    [
        ("lizard", "Plasmacytoid dendritic cell", "Unknown"),
        ("lizard", "Plasma cells", "Plasma"),
        ("lizard", "T cells", "Lymphocyte"),
        ("lizard", "Goblet cells", "Epithelial"),
        ("lizard", "Macrophages", "Unknown"),
        ("lizard", "Eosinophils", "Eosinophil"),
        ("puma", "Endothelial cells", "Endothelium"),
        ("puma", "Melanocytes", "Tumor"),
        ("puma", "Macrophages", "Histiocyte"),
        ("puma", "Fibroblasts", "Stroma"),
        ("puma", "Keratinocytes", "Epithelium"),
    ],
)
def test_other_taxonomies_are_data(taxonomy, cell_type, expected):
    rows = load_markers(taxonomy=taxonomy).rows
    assert set(rows.loc[rows["cell_type"] == cell_type, "category"]) == {expected}


def test_a_users_own_taxonomy(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nclasses:\n- {id: 1, name: Lymphoid, color: '#112233'}\n- {id: 2, name: Rest, color: '#445566'}\n"
        "unknown: {name: Unclear, color: '#999999'}\nroles: {}\nrules:\n- ['t cell', Lymphoid]\n"
        "category_map: {Epithelial: Rest, Connective: Rest, Inflammatory: Unclear}\n"
    )
    markers = load_markers(taxonomy=path)
    assert markers.categories == ("Lymphoid", "Rest")
    assert isinstance(markers.taxonomy, Taxonomy)


def test_a_missing_table_says_how_to_make_it(tmp_path):
    with pytest.raises(UserError, match="python -m stnuclei.markers.build"):
        load_markers(tmp_path)


@pytest.fixture
def copied(tmp_path):
    """Give a copy of the shipped tables."""
    for path in resource("markers").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change(folder, name, edit):
    table = pd.read_csv(folder / name, sep="\t", keep_default_na=False, dtype=str)
    edit(table).to_csv(folder / name, sep="\t", index=False)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("panglaodb.tsv.gz", lambda t: t.rename(columns={"cell_type": "celltype"}), "has no column cell_type; it has"),
        ("tissue_map.tsv", lambda t: t.drop(columns="aliases"), "has no column aliases"),
        ("hgnc_aliases.tsv.gz", lambda t: t.drop(columns="alias"), "has no column alias"),
        (
            "panglaodb.tsv.gz",
            lambda t: t.replace("Hepatocytes", "Hepatocytez"),
            "no category for 1 cell types",
        ),
        ("cell_types.tsv.gz", lambda t: pd.concat([t, t.iloc[:1]]), "names CellMarker .* twice"),
    ],
)
def test_mistakes_in_tables_of_ones_own_are_sentences(copied, name, edit, message):
    load_markers(copied)
    change(copied, name, edit)
    with pytest.raises(UserError, match=message):
        load_markers(copied)


@pytest.mark.parametrize("content", [b"", b"symbol\torgan", b"\x1f\x8b\x08\x00broken"])
def test_a_damaged_table_is_named(copied, content):
    (copied / "cellmarker.tsv.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"cellmarker.tsv.gz cannot be read"):
        load_markers(copied)


def test_resources_stay_small_and_say_their_terms():
    files = list(resource("markers").glob("*"))
    assert sum(path.stat().st_size for path in files) < 2_000_000
    text = resource("markers", "README.md").read_text()
    assert "CC BY-NC" in text and "gkac947" in text and "baz046" in text
