# Input functions, settings and targets of the expression baseline. No rules.
from stnuclei.config.expression_models import expression_models, expression_slides

try:
    BASELINES = expression_models(config, SAMPLES)
    SLIDES = expression_slides(config, SAMPLES)
except UserError as error:
    raise WorkflowError(str(error))

SPOTS = config["expression"]["spots"]
NULLS = [f"shuffled_{number + 1}" for number in range(config["expression"]["nulls"]["repeats"])]


wildcard_constraints:
    baseline="|".join(map(re.escape, BASELINES)) or "none",
    spots="|".join(map(re.escape, SPOTS)) or "none",
    slide="|".join(map(re.escape, SLIDES.index)),
    kind="samples|spots",
    run=r"result|shuffled_\d+",


def slide_files(slides: Iterable[str], file: str) -> list[str]:
    """Path of a file of each slide, samples and spots."""
    return [f"{RESULTS}/{SLIDES.loc[slide, 'kind']}/{slide}/{file}" for slide in slides]


def baseline_files(slides: str, file: str) -> Callable[[Wildcards], list[str]]:
    """Input function: a file of each of a baseline's `slides`, samples or cross_tissue."""
    return lambda wildcards: slide_files(getattr(BASELINES[wildcards.baseline], slides), file)


def all_slides(baseline: str) -> list[str]:
    """Slides that a baseline is trained or tested on."""
    return [*BASELINES[baseline].samples, *BASELINES[baseline].cross_tissue]


def transcripts_of(wildcards: Wildcards) -> str:
    """Transcripts of a sample; empty where its cells are counted."""
    row = SAMPLES.loc[wildcards.sample]
    if config["expression"]["counts"] != "transcripts":
        return ""
    if row["platform"] == "hest":
        name = row["hest_id"] or wildcards.sample
        return str(Path(row["path"]) / "transcripts" / f"{name}_transcripts.parquet")
    return row["path"]


def spots_input(wildcards: Wildcards) -> list[str]:
    """Files of a sample of spots. Absent ones are left out, so that a dry run works without the data."""
    entry = SPOTS[wildcards.spots]
    if config["hest"]["download"]:
        return [str(Path(entry["path"]) / "checksums" / f"{entry['id']}.json")]
    return [str(file) for file in spot_files(entry) if file.exists()]


def spot_files(entry: Mapping[str, str]) -> list[Path]:
    """Files of a sample of spots in HEST-1k's folder."""
    endings = {"st": "h5ad", "metadata": "json", "wsis": "tif"}
    return [Path(entry["path"]) / subfolder / f"{entry['id']}.{ending}" for subfolder, ending in endings.items()]


def missing_spots() -> list[str]:
    """One line for each missing file of the spots to cut."""
    if config["hest"]["download"]:
        return []
    names = sorted({job.wildcards.spots for job in workflow.dag.needrun_jobs() if job.rule.name == "cut_spots"})
    files = [(name, file) for name in names for file in spot_files(SPOTS[name]) if not file.exists()]
    return [f"  - expression.spots.{name}: {file} is not there" for name, file in files]


def baseline_settings(wildcards: Wildcards) -> dict[str, Any]:
    """Settings of one training; null models train for fewer epochs."""
    training = dict(BASELINES[wildcards.baseline].training)
    training["weights"] = settings.local_weights(training["weights"], f"{RESULTS}/weights")
    if wildcards.run in NULLS:
        return {**training, "epochs": min(training["epochs"], config["expression"]["nulls"]["epochs"])}
    return training


def baseline_weights(wildcards: Wildcards) -> list[str]:
    """Input function: pretrained weights that the workflow fetches."""
    path = baseline_settings(wildcards)["weights"]
    return [path] if path and path.startswith(f"{RESULTS}/weights/") else []


def expression_targets() -> list[str]:
    """Results of the baselines; empty where none is configured."""
    if not BASELINES:
        return []
    files = ["predictability.png", "maps.png", "genes.tsv"]
    targets = expand("<results>/expression/{baseline}/{file}", baseline=BASELINES, file=files)
    targets += expand("<results>/expression/{baseline}/{run}/curves.png", baseline=BASELINES, run=["result", NULLS[0]])
    return targets + expand("<results>/tables/expression.{ending}", ending=["tsv", "md"])
