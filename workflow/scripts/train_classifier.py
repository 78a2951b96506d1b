"""Train a cell classifier on the tokens and labels of many patch sets."""

from pathlib import Path

from stnuclei.classifiers import TokenSource, train_classifier
from stnuclei.config import ClassifierSettings
from stnuclei.joblog import job

source, params = snakemake.input, snakemake.params
with job(snakemake.log[0], f"training of classifier {snakemake.wildcards.classifier}"):
    result = train_classifier(
        [TokenSource(*pair) for pair in zip(source.tokens, source.labels, strict=True)],
        Path(snakemake.output.classifier).parent,
        params.taxonomy,
        validation=[
            TokenSource(*pair) for pair in zip(source.validation_tokens, source.validation_labels, strict=True)
        ],
        settings=ClassifierSettings(**params.settings),
        provenance={"classifier": snakemake.wildcards.classifier, "model": params.model, **params.sources},
        threads=snakemake.threads,
    )
    print(result)
