# Input functions, settings and resources of training. No rules.
def source_patches(split: str) -> Callable[[Wildcards], list[str]]:
    """Input function: patch stores of a model's train or validation list."""
    return lambda wildcards: [
        f"{RESULTS}/samples/{source.name}/patches.zarr" for source in SOURCES[wildcards.model][split]
    ]


def source_labels(split: str) -> Callable[[Wildcards], list[str]]:
    """Input function: label tables of a model's train or validation list."""
    return lambda wildcards: [
        f"{RESULTS}/samples/{source.name}/labels/{source.labels}.parquet" for source in SOURCES[wildcards.model][split]
    ]


def learned_from(splits: Mapping[str, Iterable[settings.PatchSet]]) -> dict[str, list[list[str]]]:
    """Set and labels of each source of a model or classifier, for its provenance."""
    return {part: [[source.name, source.labels] for source in splits[part]] for part in ("train", "validation")}


def training_settings(wildcards: Wildcards) -> dict[str, Any]:
    """Settings of one model: the block `training`, the model's overrides, its seed."""
    entry = config["models"][wildcards.model]
    chosen = {**config["training"], **entry.get("training", {}), "seed": entry.get("seed", config["seed"])}
    weights = settings.local_weights(chosen["encoder_weights"], f"{RESULTS}/weights")
    return {**chosen, "encoder_weights": weights, "teacher": settings.local_teacher(config, wildcards.model, RESULTS)}


def fetched_weights(wildcards: Wildcards) -> list[str]:
    """Input function: encoder weights that the workflow fetches."""
    path = training_settings(wildcards)["encoder_weights"]
    return [path] if path and path.startswith(f"{RESULTS}/weights/") else []


def trained_teacher(wildcards: Wildcards) -> list[str]:
    """Input function: the checkpoint a model learns from, where the workflow trains it."""
    path = training_settings(wildcards)["teacher"]
    return [path] if path and path.startswith(f"{RESULTS}/models/") else []


def threads_of(wildcards: Wildcards) -> int:
    """Threads a model is trained with: the configured number, or eight, for each process."""
    chosen = training_settings(wildcards)
    return (chosen["threads"] or 8) * chosen["processes"]


def gpus_of(wildcards: Wildcards) -> int:
    """GPUs a model is trained on: one for each process, none with `resources.gpu: 0`."""
    wanted = config["resources"]["gpu"]
    return max(wanted, training_settings(wildcards)["processes"]) if wanted else 0


def described_files(wildcards: Wildcards) -> dict[str, str | list[str]]:
    """Input function: the files that the provenance of a patch set describes."""
    folder = f"{RESULTS}/samples/{wildcards.set}"
    files = {"patches": f"{folder}/patches.zarr", "labels": [f"{folder}/labels/manual.parquet"], "others": []}
    if wildcards.set in PANNUKE_SETS:
        fold = Path(config["pannuke"]["path"]) / f"fold_{settings.fold_of(wildcards.set)}"
        return {**files, "others": [str(fold)] if fold.exists() and not simulated(fold) else []}
    marked = [sample_files(wildcards.set).get(column) for column in ("annotation", "annotation_map")]
    files["labels"] = [f"{folder}/labels/{method}.parquet" for method in METHODS]
    files["others"] = [path for path in marked if path and not simulated(path) and Path(path).exists()]
    return {**files, "store": f"{folder}/sample.zarr"}
