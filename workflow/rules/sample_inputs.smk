# Input functions for the files of samples and PanNuke, and the check that they exist. No rules.
from stnuclei.config.user_table import alignment_files


def sample_files(sample: str) -> dict[str, str]:
    """Files and folders that the samples table names for a sample, by column."""
    columns = ("path", "he_image", "he_alignment", "nuclei", "counts", "regions", "annotation", "annotation_map")
    columns += ("labels", "labels_map")
    row = SAMPLES.loc[sample]
    files = {column: row[column] for column in columns if row[column] and row[column] != "identity"}
    for column in ("nuclei", "annotation", "labels"):
        if column in files:
            files[column] = files[column].partition("#")[0]  # a unit, a sheet of a workbook, a column
    if "he_alignment" in files:
        named = alignment_files(files.pop("he_alignment"))
        files |= {f"he_alignment{' ' * k}": str(path) for k, path in enumerate(named)}  # one, or two of landmarks
    for column in ("annotation_map", "labels_map"):
        if not Path(files.get(column, "x.tsv")).suffix:
            files.pop(column)  # the name of a shipped mapping
    return files


def sample_row(*columns: str) -> Callable[[Wildcards], dict[str, Any]]:
    """Params function: some columns of a sample's row. Changes of other columns do not rerun the job."""
    return lambda wildcards: SAMPLES.loc[wildcards.sample, list(columns)].to_dict()


def simulated(path: str | Path) -> bool:
    """True for a path that the demo's simulator makes."""
    return "simulate" in config and Path(path).is_relative_to(config["simulate"]["folder"])


def downloaded(sample: str) -> bool:
    """True for a sample that the workflow downloads from HEST-1k."""
    row = SAMPLES.loc[sample]
    return bool(config["hest"]["download"] and row["platform"] == "hest" and row["hest_id"])


def bundle_input(wildcards: Wildcards) -> list[str]:
    """Files a sample is read from. Absent ones are left out, so that a dry run works without the data."""
    files = sample_files(wildcards.sample)
    if simulated(files["path"]):
        return [files["path"]]
    if downloaded(wildcards.sample):
        return [str(Path(files["path"]) / "checksums" / f"{SAMPLES.loc[wildcards.sample, 'hest_id']}.json")]
    described = [Path(files["path"]) / name for name in ("experiment.xenium", "zarr.json", ".zattrs")]
    read = ("he_image", "he_alignment", "he_alignment ", "nuclei", "counts")
    marks = [*described, *(files[c] for c in read if c in files)]
    return [str(mark) for mark in marks if Path(mark).exists()]


def regions_input(restricted: str | None = None) -> Callable[[Wildcards], list[str]]:
    """Input function: regions that a person drew on the slide, where they restrict `restricted` (None: anyway)."""

    def files(wildcards: Wildcards) -> list[str]:
        path = sample_files(wildcards.sample).get("regions")
        wanted = restricted is None or restricted in config["regions"]["restrict"]
        return [path] if path and wanted and Path(path).exists() else []

    return files


def annotation_input(wildcards: Wildcards) -> list[str]:
    """Manual annotation of a sample and its mapping; the bundle where the simulator makes them."""
    files = sample_files(wildcards.sample)
    if simulated(files["path"]):
        return [files["path"]]
    named = [files[column] for column in ("annotation", "annotation_map") if column in files]
    return [path for path in named if Path(path).exists()]


def own_labels_input(wildcards: Wildcards) -> list[str]:
    """File of the labels people already have, and its mapping, for label method `own`; else nothing."""
    if wildcards.method != "own":
        return []
    files = sample_files(wildcards.sample)
    named = [files[column] for column in ("labels", "labels_map") if column in files]
    return [path for path in named if Path(path).exists()]


def label_settings(wildcards: Wildcards) -> dict[str, Any]:
    """Settings of a label method; of `own` the sample's file of labels."""
    if wildcards.method == "own":
        return SAMPLES.loc[wildcards.sample, ["labels", "labels_map"]].to_dict()
    return config["labels"].get(wildcards.method.removesuffix("_no_refinement"), {})


def pannuke_input(wildcards: Wildcards) -> list[str]:
    """PanNuke's folder, left out where it is absent."""
    folder = config["pannuke"]["path"]
    return [folder] if simulated(folder) or Path(folder).exists() else []


def file_problem(column: str, path: str) -> str | None:
    """Clause on a file of the samples table that cannot be what its column says, None where nothing is seen."""
    if column == "he_image":
        return settings.slide_problem(path)
    return None if Path(path).exists() else "is not there"


def missing_files(samples: Iterable[str]) -> list[str]:
    """Lines on files that tables and configuration name: not there, or no slides."""
    missing = [
        f"  - sample {sample}, column {column}: {path} {problem}"
        for sample in sorted(samples)
        for column, path in sample_files(sample).items()
        if not simulated(path) and not (column == "path" and downloaded(sample))
        if (problem := file_problem(column, path))
    ]
    folder = config["pannuke"]["path"]
    if folder and not simulated(folder) and not Path(folder).exists():
        missing.append(f"  - pannuke.path: {folder} is not there")
    return missing


def stop_if_files_are_missing() -> None:
    """Say at once, before the first job, which files of which samples are not there."""
    readers = ("read_sample", "draw_regions", "map_annotation", "score_labels")
    jobs = list(workflow.dag.needrun_jobs())
    to_read = {job.wildcards.sample for job in jobs if job.rule.name in readers}
    to_read |= {
        job.wildcards.sample for job in jobs if job.rule.name == "label_cells" and job.wildcards.method == "own"
    }
    missing = missing_files(to_read)
    missing += missing_slides() + missing_spots()
    trained = {"train_model": "model", "train_expression": "baseline"}
    models = {job.wildcards[trained[job.rule.name]] for job in jobs if job.rule.name in trained}
    fetched = {job.wildcards.weights for job in jobs if job.rule.name == "fetch_weights"}
    missing += missing_model_files(models, fetched)
    if missing:
        raise WorkflowError("files are missing or not whole:\n" + "\n".join(missing))


def missing_model_files(models: set[str], fetched: set[str]) -> list[str]:
    """Lines on weights and teachers of models and baselines that are not there, not whole, or refused to be `fetched`."""
    lines = settings.missing_weights(config, models) + settings.refused_weights(config, models, fetched)
    lines += settings.missing_teachers(config, models)
    return [f"  - {line}" for line in lines]


def say_what_is_missing(most: int = 8) -> None:
    """Say in a dry run, which works without data, what a real run would stop at."""
    named = {name: path for name, path in config["segmentation"]["checkpoints"].items() if not simulated(path)}
    # Nothing is fetched in a dry run.
    missing = missing_model_files({*config["models"], *config["expression"]["models"]}, set())
    missing += [f"  - {line}" for line in settings.missing_checkpoints(named)] + missing_files(SAMPLES["sample"])
    missing += [f"  - {line}" for line in slides_not_readable(WSIS.index)]
    if missing:
        print(
            f"{len(missing)} file(s) are missing or not whole; a real run stops before its first job:", file=sys.stderr
        )
        more = [f"  ... and {len(missing) - most} more"] if len(missing) > most else []
        print("\n".join([*missing[:most], *more]), file=sys.stderr)


def own_labels_not_given() -> str:
    """Sentence where label method own is asked for and no sample brings labels, "" elsewhere."""
    if "own" not in METHODS or (SAMPLES["labels"] != "").any():
        return ""
    return (
        "labels.methods: own takes the samples table's column labels, which is empty for every sample, so that all "
        "cells stay Unknown; fill it in, or leave own out"
    )


def say_warnings() -> None:
    """Print the leakage that the configuration permits, facts and labels that no sample gives, missing validation."""
    missing = [settings.diseases_not_given(SAMPLES, METHODS), settings.without_validation(SOURCES)]
    for warning in [*WARNINGS, *filter(None, [*missing, own_labels_not_given()])]:
        print(f"Warning: {warning}.", file=sys.stderr)


if workflow.is_main_process:
    say_warnings()
