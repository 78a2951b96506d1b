"""Labels of every method on every labelled set at hand; constants chosen on other tumours.

python benchmarks/label_methods.py [--seeds 2] [--methods stnuclei,paper,...] [--panels] [--cache FOLDER] [--write]

Baselines run with this project's settings, and once more "as published": the literal cancer set, lists of any length,
the packages' own parameters (what `config/paper` runs). CellAssign as published takes minutes a set and runs only
where `--methods` names it.

Accuracy and macro F1 (over the classes a set has) count Unknown as wrong and a cell with alternatives as its label.
Sets of one tumour or slide are one unit. What is reported of `stnuclei` and of `cellassign` for a set was chosen on the
other units, from the grids in `label_constants.py`, with the disease left empty; other baselines have their shipped
constants. Ceilings know the truth: the best label each cluster can get, and a classifier trained on the set's own
labels (logistic regression, 3-fold). With `--cache`, a run that was cut goes on where it stopped.

Leaving a tumour out does not make these slides unseen: the form of the method, which constants are searched, and the
start of `cellassign` (about 30 configurations were tried) were settled while looking at these sets. Six of eight are
breast, four of them of one tumour. The shipped constants are those that the same search chooses over all units (row
"none" of the last tables but one; `tests/labels/test_shipped_constants.py` holds both together), so their scores are in
sample.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from label_bench import ABLATIONS, ROOT, Bench, ceilings
from label_constants import Constants, choose_cellassign, choose_stnuclei, shipped_differ
from labelled_sets import SETS, LabelledSet, normal_sets, null_sets, on_genes, panel_genes
from malignancy_evidence import malignancy_table

PUBLISHED = {"cancer_set": "A3", "max_list_size": None, "parameters": "package"}
BASELINES = ("topdown", "ucell", "aucell", "cellassign")
# Name in the tables -> method, its settings, the disease given.
METHODS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "stnuclei, disease empty": ("stnuclei", {}, None),
    "stnuclei, disease given": ("stnuclei", {}, "cancer"),
    **{name: (name, {}, None) for name in ("paper", "paper_no_refinement", *BASELINES)},
    **{f"{name} as published": (name, PUBLISHED, None) for name in BASELINES},
}
USUAL = ("stnuclei", "paper", "paper_no_refinement", *BASELINES, *(f"{name} as published" for name in BASELINES[:3]))
ACCURACY_F1 = ["accuracy", "macro F1"]
FALSE = ["false Neoplastic", "false Neoplastic, sure"]
# Sets that stand for the others where every one would take too long.
NULL_SETS = ("janesick rep1", "idc add-on", "merfish lung")
PANEL_SETS = ("janesick rep1", "idc add-on", "scrna tnbc", "merfish lung")

Sections = list[LabelledSet]
Chosen = dict[str, dict[str | None, Constants]]


def settings_of(name: str, unit: str | None, chosen: Chosen) -> Constants:
    """Settings of a method for a unit: its fixed ones, or those chosen without the unit."""
    method, fixed, _ = METHODS[name]
    return fixed or chosen.get(method, {}).get(unit, {})


def main_table(bench: Bench, sections: Sections, chosen: Chosen, methods: list[str], seeds: int) -> pd.DataFrame:
    """Scores by set and method, means over seeds; ceilings (one seed) last."""
    rows = []
    for section in sections:
        for name in methods:
            method, _, disease = METHODS[name]
            settings = settings_of(name, section.unit, chosen)
            runs = [bench.score(section, method, settings, seed=seed, disease=disease) for seed in range(seeds)]
            rows.append({"set": section.name, "method": name, **pd.DataFrame(runs).mean().to_dict()})
            print(section.name, name, {key: round(rows[-1][key], 3) for key in ACCURACY_F1}, flush=True)
        for name in ("best label per cluster", "classifier trained on the truth"):
            key = ("ceiling", name, section.name, section.cells.shape, bench.sources["clusters"])
            scores = bench.keep(key, lambda name=name, section=section: ceilings(bench, section)[name])
            rows.append({"set": section.name, "method": f"ceiling: {name}", **scores})
    return pd.DataFrame(rows)


def wide(table: pd.DataFrame) -> str:
    """Accuracy / macro F1 by set (rows) and method, with mean and worst set."""
    columns = list(dict.fromkeys(table["method"]))
    order = list(dict.fromkeys(table["set"]))
    values = {v: table.pivot(index="set", columns="method", values=v).loc[order, columns] for v in ACCURACY_F1}
    for frame in values.values():
        frame.loc["**mean**"], frame.loc["**worst set**"] = frame.loc[order].mean(), frame.loc[order].min()
    text = values["accuracy"].map("{:.2f}".format) + " / " + values["macro F1"].map("{:.2f}".format)
    return text.rename_axis(None, axis=1).to_markdown()


def shipped_table(bench: Bench, sections: Sections, normal: Sections, constants: Constants, seeds: int) -> pd.DataFrame:
    """Scores of the constants chosen over all units, which are shipped, by set (disease empty), means over seeds."""
    rows = []
    for section in [*sections, *normal]:
        runs = [bench.score(section, "stnuclei", constants, seed=seed) for seed in range(seeds)]
        rows.append({"set": section.name, **pd.DataFrame(runs).mean()[[*ACCURACY_F1, "ECE", *FALSE]]})
    table = pd.DataFrame(rows).set_index("set")
    table.loc["**mean of the labelled sets**"] = table.loc[[s.name for s in sections]].mean()
    table.loc["**mean of the normal sets**"] = table.loc[[s.name for s in normal]].mean()
    return table.reset_index()


def bars(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the default method (disease empty) less that of `paper` and of the best baseline, by set."""
    accuracy = table.pivot(index="set", columns="method", values="accuracy")
    baselines = [name for name in accuracy if not name.startswith(("stnuclei", "ceiling"))]
    ours = accuracy["stnuclei, disease empty"]
    rows = {
        "accuracy": ours,
        "less `paper`": ours - accuracy["paper"] if "paper" in accuracy else np.nan,
        "less the best baseline": ours - accuracy[baselines].max(axis=1),
        "best baseline": accuracy[baselines].idxmax(axis=1),
    }
    return pd.DataFrame(rows).loc[list(dict.fromkeys(table["set"]))].reset_index()


def normal_table(bench: Bench, normal: Sections, chosen: Chosen, methods: list[str], seeds: int) -> pd.DataFrame:
    """Fraction of normal epithelium called Neoplastic by set and method (disease empty), means over seeds."""
    rows = []
    for section in normal:
        row: dict[str, Any] = {"set": section.name}
        for name in methods:
            settings, method = settings_of(name, section.unit, chosen), METHODS[name][0]
            runs = pd.DataFrame([bench.score(section, method, settings, seed=seed) for seed in range(seeds)])
            row[name.removesuffix(", disease empty")] = runs["false Neoplastic"].mean()
            if method == "stnuclei":
                row["of these without alternatives"] = runs["false Neoplastic, sure"].mean()
        rows.append(row)
        print(row, flush=True)
    table = pd.DataFrame(rows).set_index("set")
    table.loc["**mean**"], table.loc["**worst set**"] = table.mean(), table.max()
    return table.reset_index()


def null_table(bench: Bench, sections: Sections, chosen: Chosen) -> pd.DataFrame:
    """Fraction of cells labelled where names (five times) or counts are dealt out at random."""
    rows = []
    for section in (s for s in sections if s.name in NULL_SETS):
        settings, labelled = chosen["stnuclei"][section.unit], []
        for copy in null_sets(section, 5):
            clusters = section.name if "names" in copy.name else f"{section.name}, counts shuffled"
            copy = replace(copy, name=f"{section.name}, {copy.name}")
            labelled.append(bench.score(copy, "stnuclei", settings, clusters=clusters)["labelled"])
        rows.append({"set": section.name, "names shuffled": np.mean(labelled[:-1]), "counts shuffled": labelled[-1]})
    return pd.DataFrame(rows)


def panel_table(bench: Bench, sections: Sections, chosen: Chosen) -> pd.DataFrame:
    """Scores on the genes that Xenium panels share with a set, and on 200 and 100 of its genes at random."""
    rows = []
    for section in (s for s in sections if s.name in PANEL_SETS):
        rng = np.random.default_rng(0)
        cuts = {name: panel_genes((name,)) for name in ("hMulti", "hIO")}
        names = section.cells.var_names.to_numpy()
        cuts |= {f"{n} at random": set(rng.choice(names, n, replace=False)) for n in (200, 100)}
        for cut, genes in cuts.items():
            part = on_genes(section, genes, f"{section.name}, {cut}")
            scores = bench.score(part, "stnuclei", chosen["stnuclei"][section.unit])
            shown = {name: scores[name] for name in (*ACCURACY_F1, "Unknown", "undecided", "ECE")}
            rows.append({"set": section.name, "panel": cut, "genes": part.cells.n_vars, **shown})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def ablation_table(bench: Bench, sections: Sections, chosen: Chosen) -> pd.DataFrame:
    """Means over sets with parts of the method taken away, one seed."""
    rows = []
    for name in ("", *ABLATIONS):
        runs = [bench.score(s, "stnuclei", chosen["stnuclei"][s.unit], without=name) for s in sections]
        table = pd.DataFrame(runs)[[*ACCURACY_F1, "Unknown", "undecided", "ECE"]]
        rows.append({"without": name or "(complete)", **table.mean(), "worst set": table["accuracy"].min()})
    return pd.DataFrame(rows)


def constants_table(chosen: dict[str | None, Constants]) -> str:
    """Constants chosen with each unit left out."""
    table = pd.DataFrame({unit or "none": constants for unit, constants in chosen.items()}).T
    return table.rename_axis("unit left out").to_markdown()


def markdown(table: pd.DataFrame) -> str:
    """Table with three digits."""
    return table.round(3).to_markdown(index=False)


def report(bench: Bench, methods: list[str], seeds: int, panels: bool) -> list[str]:
    """Measure all tables; markdown paragraphs."""
    sections = [replace(make(), name=name) for name, make in SETS.items()]
    normal = normal_sets()
    chosen: Chosen = {"stnuclei": choose_stnuclei(bench, sections, normal)}
    if "cellassign" in methods:
        chosen["cellassign"] = choose_cellassign(bench, sections)
    print(chosen, flush=True)
    for name, (shipped, best) in shipped_differ(chosen["stnuclei"][None]).items():
        print(f"shipped {name} is {shipped}, the search over all units chooses {best}", flush=True)
    table = main_table(bench, sections, chosen, methods, seeds)
    others = table.groupby("method", sort=False)[["Unknown", "undecided", "ECE"]].mean().dropna().reset_index()
    open_disease = [name for name in methods if name != "stnuclei, disease given" and "published" not in name]
    parts = {
        "Accuracy / macro F1": wide(table),
        "Default method (disease empty) against baselines, accuracy": markdown(bars(table)),
        "Unknown, undecided, calibration (means over sets)": markdown(others),
        "Normal epithelium called Neoplastic (disease empty)": markdown(
            normal_table(bench, normal, chosen, open_disease, seeds)
        ),
        "Shipped constants, in sample (disease empty)": markdown(
            shipped_table(bench, sections, normal, chosen["stnuclei"][None], seeds)
        ),
        "Each kind of evidence for malignancy alone (area under the curve)": markdown(
            malignancy_table(bench, sections, chosen["stnuclei"])
        ),
        "Labelled where there is nothing to label": markdown(null_table(bench, sections, chosen)),
        "With parts taken away (means over sets, one seed)": markdown(ablation_table(bench, sections, chosen)),
    }
    if panels:
        parts["On smaller panels"] = markdown(panel_table(bench, sections, chosen))
    for name, constants in chosen.items():
        parts[f"Constants of `{name}` chosen with each unit left out"] = constants_table(constants)
    return list(itertools.chain(*((f"## {title}", text) for title, text in parts.items())))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--methods", default=",".join(USUAL))
    parser.add_argument("--panels", action="store_true", help="also on the genes of other panels and on fewer genes")
    parser.add_argument("--cache", type=Path, help="folder that keeps clusters and scores between runs")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/label_methods.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    named = options.methods.split(",")
    methods = [name for name in METHODS if name in named or (name.startswith("stnuclei,") and "stnuclei" in named)]
    text = [
        "# Labels on labelled sections", (__doc__ or "").strip(),
        f"Means over {options.seeds} seeds; methods: {', '.join(methods)}.",
        *report(Bench(options.cache), methods, options.seeds, options.panels),
    ]  # fmt: skip
    print("\n\n".join(text))
    if options.write:
        (ROOT / "benchmarks/results/label_methods.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
