# Input functions and settings of cell classifiers. No rules.
CLASSIFIERS = list(config["classifiers"])

try:
    settings.check_classifiers(config, MODELS)
    TAUGHT = {
        name: {
            part: settings.expand_sources(entry[part], config, SAMPLES, f"classifiers.{name}.{part}")
            for part in ("train", "validation")
        }
        for name, entry in config["classifiers"].items()
    }
    settings.check_models(TAUGHT, SAMPLES, config, "classifiers")
except UserError as error:
    raise WorkflowError(str(error))

RUNS |= {name: name for name in CLASSIFIERS}
#: Taxonomies of classifiers other than the configuration's, by the name of their folder of labels.
TAXONOMIES = {
    name: settings.classifier_taxonomy(entry, config)
    for entry in config["classifiers"].values()
    if (name := settings.own_taxonomy(entry, config))
}


wildcard_constraints:
    classifier="|".join(map(re.escape, CLASSIFIERS)) or "none",
    base="|".join(map(re.escape, [*MODELS, *config["segmentation"]["checkpoints"]])),
    taxonomy="|".join(map(re.escape, TAXONOMIES)) or "none",
    tokens="box|centre|nucleus",
    nuclei="run|network",


def base_checkpoint(name):
    """Checkpoint of a model trained here, or of one that the configuration names."""
    named = config["segmentation"]["checkpoints"]
    if name not in named:
        return f"{RESULTS}/models/{name}/checkpoint.pt"
    return named[name] if Path(named[name]).exists() else []


def classifier_model(wildcards):
    """Input function: checkpoint of the model whose tokens a classifier reads."""
    return base_checkpoint(config["classifiers"][wildcards.classifier]["model"])


def token_stores(part):
    """Input function: tokens of a classifier's train or validation list."""

    def stores(wildcards):
        entry = config["classifiers"][wildcards.classifier]
        ending = f"{entry['nuclei']}.{entry['tokens']}.zarr"
        return [
            f"{RESULTS}/models/{entry['model']}/tokens/{source.name}.{ending}"
            for source in TAUGHT[wildcards.classifier][part]
        ]

    return stores


def token_labels(part):
    """Input function: label tables of a classifier's train or validation list, in its own taxonomy."""

    def labels(wildcards):
        own = settings.own_taxonomy(config["classifiers"][wildcards.classifier], config)
        folder = f"labels/{own}" if own else "labels"
        return [
            f"{RESULTS}/samples/{source.name}/{folder}/{source.labels}.parquet"
            for source in TAUGHT[wildcards.classifier][part]
        ]

    return labels


def head_settings(wildcards):
    """Settings of a classifier's head, and its seed."""
    entry = config["classifiers"][wildcards.classifier]
    return {**entry["head"], "seed": config["seed"] if entry["seed"] is None else entry["seed"]}


def comparable(name):
    """True where a classifier's classes are those of the tables, or add up to them."""
    own = settings.own_taxonomy(config["classifiers"][name], config)
    return own is None or settings.collapses(TAXONOMIES[own], config["taxonomy"])


def classifier_targets():
    """Results of classifiers beside their rows in the tables."""
    files = ["classifier.pt", "history.csv", "curves.png", "confusion.png", "cost.tsv", "README.md"]
    targets = expand("<results>/models/{classifier}/{file}", classifier=CLASSIFIERS, file=files)
    return targets + expand("<results>/tables/classifiers.{ending}", ending=["tsv", "md"] if CLASSIFIERS else [])
