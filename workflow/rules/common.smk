# What the rules share: settings, the samples table, paths, resources. No rule stands here.
import json
import os
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Of this file, not of the main Snakefile: another workflow may use this one as a module.
CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]
if not CHECKOUT.is_dir():
    raise WorkflowError("stnuclei is used from a clone: git clone it and give `snakefile:` the path of its Snakefile")
sys.path.insert(0, str(CHECKOUT / "workflow" / "scripts"))

from stnuclei import __version__ as VERSION
from stnuclei import config as settings
from stnuclei import runlog
from stnuclei.errors import UserError
from stnuclei.files import size_mb


def load_settings():
    """Lay the given configuration over config/config.yaml and check the whole."""
    own = Path("config/config.yaml")
    shipped = CHECKOUT / "config" / "config.yaml"
    with open(own if own.is_file() else shipped) as file:
        merged = settings.with_defaults(config, yaml.safe_load(file))
    return settings.check_config(merged)


def known_tissues():
    """Names in the marker tables' tissue map; an unknown one could not be labelled."""
    table = CHECKOUT / "resources" / "markers" / "tissue_map.tsv"
    if not table.is_file():
        return ()
    lines = [line for line in table.read_text().splitlines() if line and not line.startswith("#")]
    return tuple(line.split("\t")[0] for line in lines[1:])


try:
    merged = load_settings()
    config.clear()
    config.update(merged)
    # A model with several seeds becomes several models; RUNS: model -> the name it has in tables.
    config["models"], RUNS = settings.expand_runs(config["models"])
    SHARED = config["evaluation"]["allow_shared_donors"]
    SAMPLES = settings.read_samples(config["samples"], known_tissues(), SHARED)
    SOURCES = {
        model: {
            part: settings.expand_sources(entry.get(part, []), config, SAMPLES, f"models.{model}.{part}")
            for part in ("train", "validation", "test")
        }
        for model, entry in config["models"].items()
    }
    settings.check_models(SOURCES, SAMPLES, config)
    # Leakage that the configuration permits: printed now, and below every table and in the report.
    WARNINGS = settings.shared_donors(SAMPLES, SHARED) + settings.pannuke_organ_warnings(SOURCES, SAMPLES, config)
    METHODS = settings.label_methods(config)
    WEIGHTS = settings.encoder_urls(config)
    SETS = settings.patch_sets(config, SAMPLES)
except UserError as error:
    raise WorkflowError(str(error))

RESULTS = config["results"].rstrip("/")
DEMO = config.get("simulate", {}).get("folder", "demo").rstrip("/")
MODELS = list(config["models"])
PANNUKE_SETS = [name for name in SETS if name.startswith("pannuke_")]
SEG_EVAL = list(SAMPLES.loc[SAMPLES["split"] == "seg_eval", "sample"])
CLS_EVAL = list(SAMPLES.loc[SAMPLES["split"] == "cls_eval", "sample"])
HEST_IDS = sorted(set(SAMPLES.loc[SAMPLES["platform"] == "hest", "hest_id"]) - {""})
ANNOTATED = list(SAMPLES.loc[SAMPLES["annotation"] != "", "sample"])


wildcard_constraints:
    sample="|".join(map(re.escape, SAMPLES["sample"])),
    set="|".join(map(re.escape, SETS)),
    fold=r"\d+",
    model="|".join(map(re.escape, MODELS)),
    method="|".join([*map(re.escape, METHODS), "manual"]),


# --- the samples' own files ---------------------------------------------------------------------------------------


def sample_files(sample):
    """Path of every file or folder that the samples table names for `sample`, by column."""
    columns = ("path", "he_image", "he_alignment", "annotation", "annotation_map")
    row = SAMPLES.loc[sample]
    files = {column: row[column] for column in columns if row[column] and row[column] != "identity"}
    if "annotation" in files:
        files["annotation"] = files["annotation"].partition("#")[0]  # a sheet of a workbook
    if not Path(files.get("annotation_map", "x.tsv")).suffix:
        files.pop("annotation_map")  # the name of a shipped mapping
    return files


def sample_row(*columns):
    """Input function: some columns of a sample's row. A job whose columns did not change is not run again."""
    return lambda wildcards: SAMPLES.loc[wildcards.sample, list(columns)].to_dict()


def simulated(path):
    """Whether the demo's simulator makes this path."""
    return "simulate" in config and Path(path).is_relative_to(config["simulate"]["folder"])


def downloaded(sample):
    """Whether the workflow downloads this sample from HEST-1k."""
    row = SAMPLES.loc[sample]
    return bool(config["hest"]["download"] and row["platform"] == "hest" and row["hest_id"])


def bundle_input(wildcards):
    """Files a sample is read from, as far as they can be looked at: a dry run works where the data are not."""
    files = sample_files(wildcards.sample)
    if simulated(files["path"]):
        return [files["path"]]
    if downloaded(wildcards.sample):
        return [str(Path(files["path"]) / "checksums" / f"{SAMPLES.loc[wildcards.sample, 'hest_id']}.json")]
    marks = [Path(files["path"]) / "experiment.xenium", *(files[c] for c in ("he_image", "he_alignment") if c in files)]
    return [str(mark) for mark in marks if Path(mark).exists()]


def annotation_input(wildcards):
    """A sample's manual annotation and its mapping; the bundle where the simulator makes them."""
    files = sample_files(wildcards.sample)
    if simulated(files["path"]):
        return [files["path"]]
    named = [files[column] for column in ("annotation", "annotation_map") if column in files]
    return [path for path in named if Path(path).exists()]


def pannuke_input(wildcards):
    folder = config["pannuke"]["path"]
    return [folder] if simulated(folder) or Path(folder).exists() else []


def stop_if_files_are_missing():
    """Say at once, before the first job, which files of which samples are not there."""
    readers = ("read_sample", "map_annotation", "score_labels")
    to_read = {job.wildcards.sample for job in workflow.dag.needrun_jobs() if job.rule.name in readers}
    missing = [
        f"  - sample {sample}, column {column}: {path} is not there"
        for sample in sorted(to_read)
        for column, path in sample_files(sample).items()
        if not simulated(path) and not (column == "path" and downloaded(sample)) and not Path(path).exists()
    ]
    folder = config["pannuke"]["path"]
    if folder and not simulated(folder) and not Path(folder).exists():
        missing.append(f"  - pannuke.path: {folder} is not there")
    missing += missing_slides()
    if missing:
        raise WorkflowError("files are missing:\n" + "\n".join(missing))


def say_what_is_shared():
    """Say which leakage the configuration permits; the tables and the report say so, too."""
    for warning in WARNINGS:
        print(f"Warning: {warning}.", file=sys.stderr)


if workflow.is_main_process:
    say_what_is_shared()


# --- resources ----------------------------------------------------------------------------------------------------


def memory(base_mb, per_mb=0.0, part=""):
    """mem_mb of a job: `base_mb`, more with the size of its input, times the attempt, up to the configured limit.

    `part` is the folder of the input stores that counts: `tables` for what reads counts and no pixels.
    """

    def mem_mb(wildcards, input, attempt):
        read = [os.path.join(path, part) for path in input] if part else input
        wanted = (base_mb + (per_mb * size_mb(read) if per_mb else 0)) * attempt
        return int(min(wanted, config["resources"]["max_mem_mb"]))

    return mem_mb


def runtime(base_min):
    """Minutes of a job, times the attempt, up to the configured limit."""

    def minutes(wildcards, attempt):
        return int(min(base_min * attempt, config["resources"]["max_runtime_min"]))

    return minutes


# --- what can be asked for ----------------------------------------------------------------------------------------


# Every stage's outputs are asked for, not only the last: whichever is deleted is made again.
def slide_targets():
    files = ["sample.zarr", "tissue.tif", "tissue.png", "alignment.json", "alignment.png"]
    return expand("<results>/samples/{sample}/{file}", sample=SAMPLES["sample"], file=files)


def label_targets():
    files = ["clusters.parquet", "ranked_genes.parquet", "labels.png"]
    targets = expand("<results>/samples/{sample}/{file}", sample=SAMPLES["sample"], file=files)
    endings = ["parquet", "evidence.tsv", "png", "xenium_explorer.csv"]
    labels = "<results>/samples/{sample}/labels/{method}.{ending}"
    targets += expand(labels, sample=SAMPLES["sample"], method=METHODS, ending=endings)
    return targets + expand("<results>/samples/{sample}/label_scores.tsv", sample=ANNOTATED)


def patch_targets():
    return expand("<results>/samples/{set}/patches.{ending}", set=SETS, ending=["zarr", "png"])


def training_targets():
    return [*patch_targets(), "<results>/figures/augmentation.png"] + expand(
        "<results>/models/{model}/{file}", model=MODELS, file=["checkpoint.pt", "curves.png"]
    )


def report_inputs():
    """All results of the run, which the report stands at the end of."""
    targets = slide_targets() + label_targets() + training_targets() + table_targets()
    return targets + expression_targets() + segmentation_targets() + card_targets() + ["<results>/provenance.json"]


# --- what a model is made from ------------------------------------------------------------------------------------


def source_patches(part):
    """Input function: the patch stores of a model's `part`, train or validation."""
    return lambda wildcards: [f"{RESULTS}/samples/{one.name}/patches.zarr" for one in SOURCES[wildcards.model][part]]


def source_labels(part):
    """Input function: the label tables of a model's `part`, train or validation."""
    return lambda wildcards: [
        f"{RESULTS}/samples/{one.name}/labels/{one.labels}.parquet" for one in SOURCES[wildcards.model][part]
    ]


def training_settings(wildcards):
    """Settings of one model: the common ones, its own over them, its seed."""
    entry = config["models"][wildcards.model]
    own = {**config["training"], **entry.get("training", {}), "seed": entry.get("seed", config["seed"])}
    return {**own, "encoder_weights": settings.local_weights(own["encoder_weights"], f"{RESULTS}/weights")}


def fetched_weights(wildcards):
    """Input function: the encoder's weights where the workflow fetches them."""
    path = training_settings(wildcards)["encoder_weights"]
    return [path] if path and path.startswith(f"{RESULTS}/weights/") else []


def threads_of(wildcards):
    """Threads a model is trained with: the configured number, or eight, for each process."""
    own = training_settings(wildcards)
    return (own["threads"] or 8) * own["processes"]


def gpus_of(wildcards):
    """GPUs a model is trained on: one a process, none where the configuration trains on CPU."""
    wanted = config["resources"]["gpu"]
    return max(wanted, training_settings(wildcards)["processes"]) if wanted else 0


def described_files(wildcards):
    """Input function: what a set's provenance looks at; patches, labels, and the store or files behind them."""
    folder = f"{RESULTS}/samples/{wildcards.set}"
    files = {"patches": f"{folder}/patches.zarr", "labels": [f"{folder}/labels/manual.parquet"], "others": []}
    if wildcards.set in PANNUKE_SETS:
        fold = Path(config["pannuke"]["path"]) / f"fold_{wildcards.set.removeprefix('pannuke_')}"
        return {**files, "others": [str(fold)] if fold.exists() and not simulated(fold) else []}
    marked = [sample_files(wildcards.set).get(column) for column in ("annotation", "annotation_map")]
    files["labels"] = [f"{folder}/labels/{method}.parquet" for method in METHODS]
    files["others"] = [path for path in marked if path and not simulated(path) and Path(path).exists()]
    return {**files, "store": f"{folder}/sample.zarr"}


# --- words at the end ---------------------------------------------------------------------------------------------


def say_where_results_are():
    print("\nDone. What there is now:")
    for label, path in {
        "tables": f"{RESULTS}/tables",
        "models": f"{RESULTS}/models",
        "slides, labels, patches": f"{RESULTS}/samples",
        "report": f"{RESULTS}/report.html",
    }.items():
        if Path(path).exists():
            print(f"  {label:24} {path}")
    print(f"  {'more on the jobs':24} snakemake --report {RESULTS}/snakemake_report.html  (with the same --configfile)")


def say_which_jobs_failed(main_log):
    """Name the jobs that failed for good, each with the last lines of its log."""
    failed = [job for path in main_log for job in runlog.failed_jobs(Path(path).read_text())]
    print(f"\n{len(failed)} job(s) failed, the log of the whole run is", *main_log)
    print("\n".join(runlog.describe_failures(failed)))
    print("What is finished is kept; the same command goes on from there.")
