"""The samples table: read whole or refused with every problem at once."""

import pytest

from paths import ROOT
from stnuclei.config import DISEASES, diseases_not_given, read_samples
from stnuclei.errors import UserError

HEADER = "sample\tplatform\tpath\ttissue\tsplit\tdonor\tannotation"


def write(tmp_path, *rows, header=HEADER):
    path = tmp_path / "samples.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_good_table_gets_defaults_for_absent_columns(tmp_path):
    table = read_samples(
        write(tmp_path, "a\txenium\tdata/a\tBreast\t\t\t", "# a comment", "b\thest\tdata\tColon\tval\t\t")
    )
    assert list(table.index) == ["a", "b"]
    assert table.loc["a", "split"] == "train"
    assert table.loc["a", "he_image"] == ""


def test_every_problem_is_told_at_once_with_sample_and_column(tmp_path):
    path = write(
        tmp_path,
        "a\txennium\tdata/a\tBreast\ttrain\tp1\t",
        "a\txenium\t\tBreastt\tval\tp1\t",
        "c d\txenium\tdata/c\tBreast\tseg_eval\tp2\t",
        "e\txenium\tdata/e\tBreast\tcls_eval\tp3\t",
    )
    with pytest.raises(UserError) as caught:
        read_samples(path, tissues=("Breast", "Colon"))
    text = str(caught.value)
    for part in (
        "sample a, column platform: 'xennium' is none of xenium, hest, spatialdata, cosmx, merscope, visium_hd",
        "sample a, column path: is empty",
        "sample a, column tissue: 'Breastt' is not in the tissue map; did you mean 'Breast'?",
        "sample c d, column sample: use letters",
        "sample a, column sample: named twice",
        "sample c d, column tissue: seg_eval takes organs never trained on",
        "sample e, column annotation: a slide of split cls_eval needs its manual annotation",
        "column donor: p1 is in train and val",
    ):
        assert part in text
    assert str(path) in text


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("sample\tplatform\tpath\ttisue", "column 'tisue' is not known; did you mean 'tissue'?"),
        ("sample\tplatform\tpath", "column 'tissue' is missing"),
        ("sample,platform,path,tissue", "columns are separated by tabs"),
    ],
)
def test_wrong_columns(tmp_path, header, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        read_samples(write(tmp_path, header=header))


def test_absent_and_empty_tables(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_samples(tmp_path / "none.tsv")
    with pytest.raises(UserError, match="there is no sample"):
        read_samples(write(tmp_path))


def test_a_number_sign_begins_a_comment_only_at_the_start_of_a_line(tmp_path):
    table = read_samples(write(tmp_path, "# by hand", "a\txenium\td\tBreast\tcls_eval\tp\tbook.xlsx#Sheet 1"))
    assert table.loc["a", "annotation"] == "book.xlsx#Sheet 1"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("nromal", "did you mean 'normal'"), ("cancre", "did you mean 'cancer'"), ("tumour", "did you mean 'cancer'"),
        ("Breast carcinoma", "did you mean 'cancer'"), ("healthy", "did you mean 'normal'"),
        ("colitis", "did you mean 'inflamed'"), ("xyz", "known: cancer, normal, benign"),
    ],
)  # fmt: skip
def test_disease_is_a_closed_list_and_a_typo_is_refused_with_the_nearest(tmp_path, word, hint):
    path = write(tmp_path, f"a\txenium\td\tBreast\t{word}", header="sample\tplatform\tpath\ttissue\tdisease")
    with pytest.raises(UserError) as caught:
        read_samples(path)
    assert f"sample a, column disease: {word!r} is not known; {hint}" in str(caught.value)


def test_diseases_that_are_known_or_empty_are_taken_and_empty_ones_are_named(tmp_path):
    words = [*DISEASES, ""]
    rows = [f"s{i}\txenium\td{i}\tBreast\t{word}" for i, word in enumerate(words)]
    table = read_samples(write(tmp_path, *rows, header="sample\tplatform\tpath\ttissue\tdisease"))
    assert table["disease"].tolist() == words
    sentence = diseases_not_given(table, ["stnuclei", "paper"])
    assert f"not given for s{len(words) - 1}:" in sentence and "cancer, normal" in sentence
    assert diseases_not_given(table, ["paper"]) == ""
    assert diseases_not_given(table[table["disease"] != ""], ["stnuclei"]) == ""


def test_columns_of_another_platform_are_refused(tmp_path):
    header = HEADER + "\tnuclei_element\tcoordinate_system"
    path = write(
        tmp_path, "a\txenium\td\tBreast\t\t\t\tnuclei\t", "b\tspatialdata\ts.zarr\tBreast\t\t\t\tn\tum", header=header
    )
    with pytest.raises(UserError, match="sample a, column nuclei_element: belongs to platform spatialdata") as caught:
        read_samples(path)
    assert "sample b" not in str(caught.value)


@pytest.mark.parametrize("column", ["path", "annotation"])
def test_braces_in_paths_are_refused(tmp_path, column):
    row = {"path": "data/a", "annotation": "", column: "data/{sample}"}
    path = write(tmp_path, f"a\txenium\t{row['path']}\tBreast\ttrain\t\t{row['annotation']}")
    with pytest.raises(UserError, match=rf"sample a, column {column}: 'data/{{sample}}' has braces"):
        read_samples(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\ufeff" + HEADER, "is UTF-16 text"),
        (f"{HEADER}\na\txenium\tdata/a\tBreast\ttrain\t\t\tx\ty\n", "row 1 has 9 fields, the header 7: 'a'"),
        (f'{HEADER}\na\txenium\t"data/a\tBreast\ttrain\n', "cannot be read as a table"),
        (f"{HEADER}\na\0", "is no text"),
        (f"{HEADER}\tpath\na\txenium\tdata/a\tBreast\n", "column 'path' is there twice"),
        (
            f'{HEADER}\na\txenium\td/a\tBreast\ttrain\t"p\t\nb\txenium\td/b\tBreast\tval\tq"\t\n',
            "column donor: a quotation mark before 'p' is not closed on its line",
        ),
    ],
)
def test_files_that_are_no_such_table(tmp_path, content, words):
    path = tmp_path / "samples.tsv"
    path.write_bytes(content.encode("utf-16-le") if "UTF-16" in words else content.encode())
    with pytest.raises(UserError, match=words):
        read_samples(path)


def test_latin_1_names_the_line(tmp_path):
    path = tmp_path / "samples.tsv"
    path.write_bytes(f"{HEADER}\na\txenium\tdata/\xe9\tBreast\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 2 is no UTF-8 text"):
        read_samples(path)


def test_empty_cells_behind_the_last_column_are_nothing(tmp_path):
    assert read_samples(write(tmp_path, "a\txenium\tdata/a\tBreast\ttrain\t\t\t\t\t")).loc["a", "path"] == "data/a"


def test_spaces_and_empty_cells_around_the_header_are_nothing(tmp_path):
    header = HEADER.replace("\tpath\t", "\t path \t") + "\t\t"
    table = read_samples(write(tmp_path, "a\txenium\tdata/a \tBreast\ttrain\t\t\t\t", header=header))
    assert table.loc["a", "path"] == "data/a"


def test_a_spatialdata_store_with_a_slide_beside_it_is_refused_before_any_job(tmp_path):
    path = write(tmp_path, "a\tspatialdata\ts.zarr\tBreast\the.tif", header="sample\tplatform\tpath\ttissue\the_image")
    with pytest.raises(UserError, match="sample a, column he_image: a SpatialData store holds its H&E"):
        read_samples(path)


def test_every_column_of_a_platform_reaches_the_reader():
    rules = (ROOT / "workflow" / "rules" / "slides.smk").read_text()
    assert "READ_COLUMNS += tuple(PLATFORM_COLUMNS)" in rules and "sample=sample_row(*READ_COLUMNS)" in rules
