# Pairs of models and patch sets to score, and the tables and figures of them. No rules.
TESTED = [(model, source.name) for model in MODELS for source in SOURCES[model]["test"]]
#: Models and classifiers; those whose classes do not add up to the configuration's are in no table.
SCORED = [*MODELS, *filter(comparable, CLASSIFIERS)]
SEGMENTED = [(model, sample) for model in SCORED for sample in SEG_EVAL]
CLASSIFIED = [(model, sample) for model in SCORED for sample in CLS_EVAL]


def classifiers_of(pairs: list[tuple[str, str]]) -> list[str]:
    """Classifiers among (model, set) pairs."""
    return [name for name in CLASSIFIERS if any(model == name for model, _ in pairs)]


def cost_files(pairs: list[tuple[str, str]]) -> list[str]:
    """Costs of the classifiers among (model, set) pairs."""
    return [f"<results>/models/{name}/cost.tsv" for name in classifiers_of(pairs)]


def trained_by_hand(model: str) -> bool:
    """True if a model is trained on manual labels alone (PanNuke)."""
    return {source.labels for source in SOURCES[model]["train"]} == {"manual"}


def figure3_models() -> list[str]:
    """Few models, as in the paper: the first trained on PanNuke, the first two trained on labels from expression."""
    first = list({RUNS[model]: model for model in reversed(MODELS)}.values())[::-1]
    manual = [model for model in first if trained_by_hand(model)]
    return manual[:1] + [model for model in first if model not in manual][:2]


FIGURE3_MODELS = figure3_models()
# The annotated slide, where there is one: only there the classes of the truth are drawn by hand.
FIGURE3_SAMPLE = (CLS_EVAL or SEG_EVAL)[:1]
FIGURE3_SCORED = [
    (model, sample) for model, sample in CLASSIFIED if model in FIGURE3_MODELS and [sample] == FIGURE3_SAMPLE
]


def figure3_truth() -> list[str]:
    """Classes of the true nuclei of figure 3."""
    name = "annotation.parquet" if CLS_EVAL else f"labels/{METHODS[0]}.parquet"
    return expand(f"<results>/samples/{{sample}}/{name}", sample=FIGURE3_SAMPLE)


def training_title(model: str) -> str:
    """Heading of a model's column."""
    return f"{RUNS[model]}\n({'PanNuke' if trained_by_hand(model) else 'ST'}-trained)"


def score_files(pairs: Iterable[tuple[str, str]], scored: str) -> list[str]:
    """Score files of (model, set) pairs; `scored` is segmentation or classification."""
    return [f"<results>/models/{model}/scores/{name}.{scored}.parquet" for model, name in pairs]


def true_labels(wildcards: Wildcards) -> list[str]:
    """Manual classes of the nuclei of a set, where there are any."""
    if wildcards.set in PANNUKE_SETS:
        return [f"{RESULTS}/samples/{wildcards.set}/labels/manual.parquet"]
    return [f"{RESULTS}/samples/{wildcards.set}/annotation.parquet"] if wildcards.set in ANNOTATED else []


def breakdown_names() -> list[str]:
    """Tables of scores by organ, size, class, and of calibration."""
    names = ["organs", "sizes"] * bool(SEGMENTED + CLASSIFIED + TESTED)
    return names + ["classes", "calibration"] * bool(CLASSIFIED + TESTED)


def table_names() -> list[str]:
    """Tables that this configuration gives rise to."""
    names = ["table1"] + ["table2"] * bool(SEG_EVAL) + ["table3"] * bool(CLS_EVAL)
    return names + ["pannuke", "pannuke_tissues"] * bool(TESTED) + breakdown_names()


def figure_names() -> list[str]:
    """Figures that this configuration gives rise to."""
    names = ["figure2"] * bool(CLS_EVAL) + ["figure3"] * bool(FIGURE3_SAMPLE)
    return names + ["pq"] * bool(SEGMENTED + CLASSIFIED + TESTED) + ["calibration"] * bool(CLASSIFIED + TESTED)


def table_targets() -> list[str]:
    """Tables, figures and the score files behind them."""
    targets = expand("<results>/tables/{table}.{ending}", table=table_names(), ending=["tsv", "md"])
    targets += score_files(SEGMENTED + CLASSIFIED + TESTED, "segmentation")
    targets += score_files(CLASSIFIED + TESTED, "classification")
    return targets + expand("<results>/figures/{figure}.png", figure=figure_names())


def published_rows() -> dict[str, str]:
    """Model, or the name of its runs -> the label method it was trained with, where it is one: the paper's row."""
    methods = {}
    for model, splits in SOURCES.items():
        methods.setdefault(RUNS[model], set()).update(source.labels for source in splits["train"])
    return {name: next(iter(labels)) for name, labels in methods.items() if len(labels) == 1}


def published_networks() -> dict[str, str]:
    """Model, or the name of its runs -> its architecture, which names the row of CellViT's own table."""
    return {RUNS[m]: {**config["training"], **config["models"][m].get("training", {})}["architecture"] for m in MODELS}


def reported_table(name: str) -> str:
    """Table shown in Snakemake's report."""
    return reported(f"tables/{name}.tsv", name if name.startswith("table") else "breakdowns", "Tables", table=name)


def reported_figure(name: str) -> str:
    """Figure shown in Snakemake's report."""
    return reported(f"figures/{name}.png", name if name.startswith("figure") else "breakdowns", "Figures", figure=name)


def score_tables(name: str) -> list[str]:
    """Tables with scores of a model or classifier."""
    pairs = {"table2": SEGMENTED, "table3": CLASSIFIED}
    wanted = [table for table, scored in pairs.items() if any(model == name for model, _ in scored)]
    return [f"{RESULTS}/tables/{table}.tsv" for table in wanted]
