# Shared by all rules: settings, the samples table, resources, targets, messages. No rules.
import atexit
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

# Relative to this file, not to the main Snakefile: another workflow may use this one as a module.
CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]
if not CHECKOUT.is_dir():
    raise WorkflowError("stnuclei is used from a clone: git clone it and give `snakefile:` the path of its Snakefile")
sys.path.insert(0, str(CHECKOUT / "workflow" / "scripts"))

# snakemake --report asks resources that depend on input sizes for a value and drops the question it began:
# dozens of lines about a coroutine (snakemake 9, rules.py) that no user can act on.
warnings.filterwarnings("ignore", message="coroutine 'InputFiles", category=RuntimeWarning)

import snakemake_restart
import snakemake_retries
import snakemake_terminal
import snakemake_wakeups
from stnuclei import __version__ as VERSION
from stnuclei import config as settings
from stnuclei import runlog
from stnuclei.errors import UserError
from stnuclei.disk import check_output, size_mb
from stnuclei.files import locked
from stnuclei.joblog import sentence_of

# Where this workflow is used as a module of another, the terminal is the other's.
if workflow.is_main_process and Path(workflow.main_snakefile).resolve().is_relative_to(CHECKOUT):
    snakemake_terminal.install(workflow.output_settings.dryrun, workflow.output_settings.verbose)
# Jobs of another workflow have logs of their own, which never hold the mark.
if workflow.is_main_process:
    snakemake_retries.install()
    snakemake_wakeups.install()


def load_settings() -> dict[str, Any]:
    """The given configuration laid over config/config.yaml, checked, with every default filled in."""
    local = Path("config/config.yaml")
    shipped = CHECKOUT / "config" / "config.yaml"
    for path in workflow.overwrite_configfiles if workflow.is_main_process else ():
        settings.read_yaml(path)  # Snakemake has read it, and dropped the first of two keys of one name
    defaults = settings.read_yaml(local if local.is_file() else shipped)
    return settings.check_config(settings.with_defaults(config, defaults))


def known_tissues() -> tuple[str, ...]:
    """Tissues of the marker tables; samples of others could not be labelled."""
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
    # With slides.on_failure: leave_out, samples that failed in an earlier run -> why.
    LEFT_OUT = settings.left_out(config["results"], SAMPLES) if config["slides"]["on_failure"] == "leave_out" else {}
    SAMPLES = SAMPLES.drop(list(LEFT_OUT))
    config["models"] = settings.without_samples(config["models"], LEFT_OUT)
    config["classifiers"] = settings.without_samples(config["classifiers"], LEFT_OUT)
    config["expression"]["models"] = settings.without_samples(config["expression"]["models"], LEFT_OUT)
    SOURCES = {
        model: {
            split: settings.expand_sources(entry.get(split, []), config, SAMPLES, f"models.{model}.{split}")
            for split in ("train", "validation", "test")
        }
        for model, entry in config["models"].items()
    }
    settings.check_models(SOURCES, SAMPLES, config)
    # Leakage that the configuration permits: printed here, below every table and in the report.
    WARNINGS = settings.shared_donors(SAMPLES, SHARED) + settings.pannuke_organ_warnings(SOURCES, SAMPLES, config)
    WARNINGS += [f"sample {name} is left out, {reason}" for name, reason in LEFT_OUT.items()]
    METHODS = settings.label_methods(config)
    WEIGHTS = settings.encoder_urls(config)
    settings.check_weights(config)
    settings.check_teachers(config)
    if Path(config["results"]).is_file():
        raise UserError(f"results: {config['results']} is a file, not a folder; give another one")
    SETS = settings.patch_sets(config, SAMPLES)
    PANNUKE = {fold.name: fold for fold in settings.pannuke_sets(config)}
except UserError as error:
    raise WorkflowError(str(error))

RESULTS = config["results"].rstrip("/")
DEMO = config.get("simulate", {}).get("folder", "demo").rstrip("/")
MODELS = list(config["models"])
PANNUKE_SETS = list(PANNUKE)
SEG_EVAL = list(SAMPLES.loc[SAMPLES["split"] == "seg_eval", "sample"])
CLS_EVAL = list(SAMPLES.loc[SAMPLES["split"] == "cls_eval", "sample"])
SPOT_IDS = {entry["id"] for entry in config["expression"]["spots"].values()}
HEST_IDS = sorted((set(SAMPLES.loc[SAMPLES["platform"] == "hest", "hest_id"]) | SPOT_IDS) - {""})
ANNOTATED = list(SAMPLES.loc[SAMPLES["annotation"] != "", "sample"])


wildcard_constraints:
    sample="|".join(map(re.escape, SAMPLES["sample"])),
    set="|".join(map(re.escape, SETS)),
    fold=r"\d+\w*",
    model="|".join(map(re.escape, MODELS)),
    method="|".join([*map(re.escape, METHODS), "manual"]),


# --- resources ----------------------------------------------------------------------------------------------------


def memory(base_mb: float, per_mb: float = 0.0, folder: str = "") -> Callable[..., int]:
    """Resource function mem_mb: `base_mb` and `per_mb` for each MB of input, times the attempt, up to the limit.

    `folder` restricts the input to one folder of the stores: `tables` for jobs that read counts and no pixels.
    """

    def mem_mb(wildcards: Wildcards, input: list[str], attempt: int) -> int:
        read = [os.path.join(path, folder) for path in input] if folder else input
        wanted = (base_mb + (per_mb * size_mb(read) if per_mb else 0)) * attempt
        return int(min(wanted, config["resources"]["max_mem_mb"]))

    return mem_mb


def runtime(base_min: float) -> Callable[..., int]:
    """Resource function runtime: minutes times the attempt, up to the limit."""

    def minutes(wildcards: Wildcards, attempt: int) -> int:
        return int(min(base_min * attempt, config["resources"]["max_runtime_min"]))

    return minutes


# --- outputs shown in Snakemake's report --------------------------------------------------------------------------


def reported(path: str, caption: str, category: str, **labels: str) -> str:
    """Output below the results folder, marked for Snakemake's report; a wildcard as first label is its subcategory."""
    first = next(iter(labels.values()))
    return report(
        f"<results>/{path}",
        caption=f"../report/{caption}.rst",
        category=category,
        subcategory=first if "{" in first else None,
        labels=labels,
    )


def sample_result(file: str, caption: str, category: str, **labels: str) -> str:
    """Reported file of a sample."""
    return reported(f"samples/{{sample}}/{file}", caption, category, sample="{sample}", **labels)


def model_result(file: str, caption: str, what: str, wildcard: str = "model") -> str:
    """Reported file of a model or, with `wildcard`, of a classifier."""
    return reported(f"models/{{{wildcard}}}/{file}", caption, "Models", model=f"{{{wildcard}}}", what=what)


def baseline_result(file: str, caption: str, what: str) -> str:
    """Reported file of an expression baseline."""
    return reported(f"expression/{{baseline}}/{file}", caption, "Expression", model="{baseline}", what=what)


def slide_result(file: str, caption: str, what: str) -> str:
    """Reported file of a slide that a model segmented."""
    names = {"slide": "{wsi}", "model": "{segmenter}", "what": what}
    return reported(f"slides/{{wsi}}/{{segmenter}}/{file}", caption, "Segmented slides", **names)


# --- targets ----------------------------------------------------------------------------------------


# Targets hold the outputs of every stage, not only of the last, so that a deleted one is made again.
def slide_targets() -> list[str]:
    """Read slides, their tissue maps and their alignments."""
    files = ["sample.zarr", "tissue.tif", "tissue.png", "alignment.json", "alignment.png"]
    return expand("<results>/samples/{sample}/{file}", sample=SAMPLES["sample"], file=files)


def label_targets() -> list[str]:
    """Clusters, label sets and their scores."""
    files = ["clusters.parquet", "ranked_genes.parquet", "labels.png"]
    targets = expand("<results>/samples/{sample}/{file}", sample=SAMPLES["sample"], file=files)
    endings = ["parquet", "evidence.tsv", "png", "xenium_explorer.csv"]
    labels = "<results>/samples/{sample}/labels/{method}.{ending}"
    targets += expand(labels, sample=SAMPLES["sample"], method=METHODS, ending=endings)
    return targets + expand("<results>/samples/{sample}/label_scores.tsv", sample=ANNOTATED)


def patch_targets() -> list[str]:
    """Patch stores and their pictures."""
    return expand("<results>/samples/{set}/patches.{ending}", set=SETS, ending=["zarr", "png"])


def training_targets() -> list[str]:
    """Patches, trained models and their curves."""
    return [*patch_targets(), "<results>/figures/augmentation.png"] + expand(
        "<results>/models/{model}/{file}", model=MODELS, file=["checkpoint.pt", "curves.png"]
    )


def report_inputs() -> list[str]:
    """All results of the run; the report is made last."""
    targets = slide_targets() + label_targets() + training_targets() + table_targets() + classifier_targets()
    targets += expand("<results>/samples/{sample}/patches_by_class.png", sample=SAMPLES["sample"])
    targets += expand("<results>/samples/{sample}/regions.png", sample=SAMPLES["sample"][SAMPLES["regions"] != ""])
    return targets + expression_targets() + segmentation_targets() + card_targets() + ["<results>/provenance.json"]


# --- when the run begins ------------------------------------------------------------------------------------------


def keep_going_past_failed_samples() -> None:
    """With slides.on_failure: leave_out, a failed sample does not hold the others back, as with --keep-going.

    Set in the scheduler: when the rules are parsed, Snakemake (9.27) has no settings of the run yet.
    """
    if config["slides"]["on_failure"] == "leave_out":
        workflow.scheduler.keepgoing = True


def keep_other_runs_out() -> None:
    """Lock the results folder until this process ends: a run begun in another working folder knows none of its jobs.

    It would delete and make anew what this one has just made; Snakemake locks the working folder alone.
    """
    held = ExitStack()
    try:
        check_output(Path(RESULTS))
        held.enter_context(locked(RESULTS, ".lock"))
    except UserError as error:
        raise WorkflowError(f"results: {error}")
    except OSError as error:
        raise WorkflowError(f"results: {RESULTS} cannot be written ({error.strerror}); give another folder")
    atexit.register(held.close)


# --- messages printed when the run ends ---------------------------------------------------------------------------------------------


def say_where_results_are() -> None:
    """Print the folders of results that exist."""
    print("\nDone. Open this first:")
    for label, path in {
        "report (in a browser)": f"{RESULTS}/report.html",
        "tables": f"{RESULTS}/tables",
        "models": f"{RESULTS}/models",
        "segmented slides": f"{RESULTS}/slides",
        "slides, labels, patches": f"{RESULTS}/samples",
    }.items():
        if Path(path).exists():
            print(f"  {label:24} {path}")
    print(f"  {'more on the jobs':24} snakemake --report {RESULTS}/snakemake_report.html  (with the same --configfile)")


def say_which_jobs_failed(main_log: Iterable[str]) -> None:
    """Print the jobs that failed after all retries, each with the last lines of its log."""
    failed = [job for path in main_log for job in runlog.failed_jobs(Path(path).read_text())]
    print(f"\n{len(failed)} job(s) failed, the log of the whole run is", *main_log)
    print("\n".join(runlog.describe_failures(failed)))
    left = leave_failed_samples_out(failed)
    if left and len(left) == len(failed) and workflow.is_main_process and snakemake_restart.may_start_again(main_log):
        print(f"Nothing else failed: the same command starts again without {', '.join(sorted(set(left)))}.", flush=True)
        snakemake_restart.start_again_at_exit()
    else:
        print("What is finished is kept; the same command goes on from there.")


def leave_failed_samples_out(failed: Iterable[runlog.FailedJob]) -> list[str]:
    """With slides.on_failure: leave_out, record the samples whose own jobs ended in a sentence; gives one a job."""
    left = []
    if config["slides"]["on_failure"] != "leave_out":
        return left
    for job in failed:
        name = job.target if job.target in SAMPLES.index else job.target.split(".")[0]
        # A traceback or a killed job says nothing of the sample: it is tried again.
        reason = sentence_of(job.log)
        of_sample = job.rule in settings.SAMPLE_RULES and name in SAMPLES.index
        if reason and of_sample:
            path = settings.leave_out(RESULTS, SAMPLES.loc[name].to_dict(), job.rule, reason)
            print(f"Sample {name} is left out from now on ({path}; delete it to try the sample again).")
            left.append(name)
    return left
