"""The command `stnuclei`: its help, its subcommands on real pixels and counts, and its statuses."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from stnuclei import cellvit
from stnuclei.cli import main
from stnuclei.cli.main import COMMANDS, command_parser
from stnuclei.config.encoders import ARCHITECTURE_NAMES


def test_help_names_every_command_and_imports_nothing_heavy():
    code = "import sys; from stnuclei.cli import main; status = main([]); "
    code += "heavy = {'torch', 'numpy', 'pandas', 'zarr', 'anndata'} & set(sys.modules); "
    code += "sys.exit(str(heavy) if heavy else status)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.stdout and line in done.stdout


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: stnuclei {name}" in text and (name == "check" or f"stnuclei {name} " in text.split("options:")[0])
    for action in command_parser(name)._actions:
        assert action.help or action.choices, f"{name} {action.dest} has no help"


def test_an_unknown_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["segmnet"])
    assert stop.value.code == 2 and "segmnet" in capsys.readouterr().err


def test_completion_is_valid_bash_and_completes_options(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    probe = script + "\nCOMP_WORDS=(stnuclei segment --chec); COMP_CWORD=2; _stnuclei; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--checkpoint"]


def test_check_finds_this_environment_sound(tmp_path, capsys):
    status = main(["check", "--folder", str(tmp_path)])
    text = capsys.readouterr().out
    assert status == 0, text
    for part in ("stnuclei", "torch", "openslide", "TIFF codecs", "GB free", "cellvit-tiny"):
        assert part in text


def test_check_says_what_failed(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("STNUCLEI_RESOURCES", str(tmp_path / "none"))
    assert main(["check", "--folder", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "FAILED marker tables" in text and "1 of " in text


def test_labels_of_real_cells(real_bundle, tmp_path, capsys):
    out = tmp_path / "labels"
    assert main(["label", str(real_bundle), "--tissue", "Breast", "--out", str(out), "--threads", "1"]) == 0
    assert "1,456 cells: " in capsys.readouterr().out
    labels = pd.read_parquet(out / "labels.parquet").set_index("cell_id")["label"]
    truth = pd.read_csv(real_bundle / "annotation.csv").set_index("cell_id")["label"]
    known = truth[truth != "Unknown"]
    assert (labels.reindex(known.index) == known).mean() > 0.8
    for name in ("evidence.tsv", "labels.png", "xenium_explorer.csv"):
        assert (out / name).stat().st_size > 0


def test_labels_of_what_holds_no_counts(tmp_path, capsys):
    arguments = ["label", str(tmp_path / "x.csv"), "--tissue", "Breast", "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "is neither a Xenium output folder, nor a sample.zarr, nor an h5ad file" in capsys.readouterr().err


def test_alignment_of_real_pixels(real_bundle, tmp_path, capsys):
    arguments = [
        "draw-alignment",
        str(real_bundle),
        "--out",
        str(tmp_path / "a.png"),
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert main(arguments) == 0
    assert "nuclei lie on nuclei" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["passed"] and (tmp_path / "a.png").stat().st_size > 10_000
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("1.17647,0,60\n0,1.17647,-60\n0,0,1\n")
    assert main([*arguments, "--he-alignment", str(wrong)]) == 1


def test_a_checkpoint_is_described(tmp_path, capsys):
    model = cellvit.build_model("cellvit-tiny", 6, 1)
    cellvit.save_checkpoint(tmp_path / "m.pt", model, taxonomy="pannuke", tissues=["Breast"], provenance={"seed": 3})
    assert main(["inspect", str(tmp_path / "m.pt")]) == 0
    text = capsys.readouterr().out
    for part in ("cellvit-tiny", "Neoplastic", "Breast", "provenance: seed", "1,3"):
        assert part in text
    assert main(["inspect", str(tmp_path / "m.pt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"][0] == "Background"


def test_encoders_are_listed_with_their_terms(capsys):
    assert main(["encoders"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(ARCHITECTURE_NAMES)
    assert main(["encoders", "uni2-h"]) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith("cellvit-uni2-h") and "681.4" in line and "gated (HF_TOKEN)" in line
    assert main(["encoders", "cellvit-virchov"]) == 1
    assert "did you mean 'cellvit-virchow'?" in capsys.readouterr().err
