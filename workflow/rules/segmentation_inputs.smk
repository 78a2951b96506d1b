# Input functions, settings and targets of segmentation, export and model cards. No rules.
CHECKPOINTS = config["segmentation"]["checkpoints"]

try:
    WSIS = settings.read_slides(
        config["slides_table"], [*SAMPLES.index, *LEFT_OUT], [*MODELS, *CHECKPOINTS, *CLASSIFIERS]
    )
    WSIS = WSIS[~WSIS["sample"].isin(LEFT_OUT)]
    settings.check_segmentation(config["segmentation"], WSIS, MODELS, METHODS)
    settings.check_pixel_sizes(config, {model for _, model in settings.models_of(WSIS)} & set(MODELS))
except UserError as error:
    raise WorkflowError(str(error))

SEGMENTATIONS = settings.models_of(WSIS)
#: Classifiers whose classes are not those of the labels: nothing to compare with.
_INCOMPARABLE = {name for name in CLASSIFIERS if settings.own_taxonomy(config["classifiers"][name], config)}
COMPARED = [(wsi, model) for wsi, model in SEGMENTATIONS if WSIS.loc[wsi, "sample"] and model not in _INCOMPARABLE]
#: Settings of exports and comparisons; the others are the engine's.
EXPORTED = ("geojson", "max_nuclei_per_file", "spatialdata", "copy_image", "formats", "labels", "checkpoints")
FORMATS = {"onnx": "onnx", "official": "pth", "pt2": "pt2"}


wildcard_constraints:
    wsi="|".join(map(re.escape, WSIS.index)) or "none",
    segmenter="|".join(map(re.escape, [*MODELS, *CHECKPOINTS, *CLASSIFIERS])),
    format="|".join(FORMATS.values()),


def checkpoint_of(wildcards: Wildcards) -> str | list[str]:
    """Input function: checkpoint of a model, or of the one whose tokens a classifier reads."""
    name = wildcards.segmenter
    return base_checkpoint(config["classifiers"][name]["model"] if name in CLASSIFIERS else name)


def classifier_of(wildcards: Wildcards) -> list[str]:
    """Input function: the classifier that gives the classes, where a classifier is named."""
    return [f"{RESULTS}/models/{wildcards.segmenter}/classifier.pt"] if wildcards.segmenter in CLASSIFIERS else []


def wsi_path(wildcards: Wildcards) -> str:
    """Path of a slide: its file, or the store of its sample."""
    row = WSIS.loc[wildcards.wsi]
    return row["path"] or f"{RESULTS}/samples/{row['sample']}/sample.zarr"


def wsi_input(wildcards: Wildcards) -> list[str]:
    """Files a slide is read from. Absent ones are left out, so that a dry run works without the data."""
    path = wsi_path(wildcards)
    if not WSIS.loc[wildcards.wsi, "path"]:
        return [path]
    if simulated(path):
        folder = Path(config["simulate"]["folder"])
        return [str(folder / Path(path).relative_to(folder).parts[0])]
    return [path] if Path(path).exists() else []


def compared_sample(file: str) -> Callable[[Wildcards], str]:
    """Input function: a file of the sample whose slide this is."""
    return lambda wildcards: f"{RESULTS}/samples/{WSIS.loc[wildcards.wsi, 'sample']}/{file}"


def has_seen(wildcards: Wildcards) -> bool:
    """True where the model was trained on the slide's sample: agreement there says little."""
    name = wildcards.segmenter
    base = config["classifiers"][name]["model"] if name in CLASSIFIERS else name
    seen = {
        source.name
        for splits in (SOURCES.get(base), TAUGHT.get(name))
        for split in ("train", "validation")
        for source in (splits[split] if splits else [])
    }
    return WSIS.loc[wildcards.wsi, "sample"] in seen


def slides_not_readable(names: Iterable[str]) -> list[str]:
    """One line for each of the slides of the slides table that is not there, or no slide."""
    paths = {name: WSIS.loc[name, "path"] for name in sorted(names)}
    # A folder is a store or holds pictures.
    problems = {
        name: None if Path(path).is_dir() else settings.slide_problem(path)
        for name, path in paths.items()
        if path and not simulated(path)
    }
    return [f"slide {name}, column path: {paths[name]} {problem}" for name, problem in problems.items() if problem]


def missing_slides() -> list[str]:
    """One line for each slide or checkpoint of the segmentations to run that is not there, or not whole."""
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "segment_slide"]
    named = {
        getattr(job.wildcards, "segmenter", getattr(job.wildcards, "base", "")) for job in workflow.dag.needrun_jobs()
    }
    named = {config["classifiers"][name]["model"] if name in CLASSIFIERS else name for name in named} & set(CHECKPOINTS)
    slides = slides_not_readable({job.wildcards.wsi for job in jobs})
    used = {name: CHECKPOINTS[name] for name in named if not simulated(CHECKPOINTS[name])}
    return [f"  - {line}" for line in [*slides, *settings.missing_checkpoints(used)]]


def card_sets(model: str) -> list[dict[str, str]]:
    """Training data of a model: split, set, labels and platform of each patch set."""
    platforms = {name: "simulated" if simulated(row["path"]) else row["platform"] for name, row in SAMPLES.iterrows()}
    platforms |= dict.fromkeys(PANNUKE_SETS, "simulated" if simulated(config["pannuke"]["path"]) else "pannuke")
    return [
        {"split": split, "name": source.name, "labels": source.labels, "platform": platforms[source.name]}
        for split, sets in SOURCES[model].items()
        for source in sets
    ]


def card_patches(wildcards: Wildcards) -> list[str]:
    """Input function: patch stores of a model."""
    return [f"{RESULTS}/samples/{source['name']}/patches.zarr" for source in card_sets(wildcards.model)]


def segmentation_targets() -> list[str]:
    """Results of the slides of the slides table."""
    files = ["nuclei.parquet", "tissue.png", "summary.tsv", "overview.png", "density.png", "zooms.png", "qupath"]
    files += ["slide.zarr"] * config["segmentation"]["spatialdata"]
    compared = ["agreement.tsv", "agreement.parquet", "agreement.png", "xenium_explorer"]
    folder = f"{RESULTS}/slides/{{}}/{{}}/{{}}"
    targets = [folder.format(*pair, file) for pair in SEGMENTATIONS for file in files]
    return targets + [folder.format(*pair, file) for pair in COMPARED for file in compared]


def card_targets() -> list[str]:
    """Card of each trained model, and the model in the formats of `segmentation.formats`."""
    endings = [FORMATS[name] for name in config["segmentation"]["formats"]]
    cards = [f"{RESULTS}/models/{model}/README.md" for model in MODELS]
    return cards + [f"{RESULTS}/models/{model}/export/{model}.{ending}" for model in MODELS for ending in endings]


if workflow.is_main_process and workflow.output_settings.dryrun:
    say_what_is_missing()
