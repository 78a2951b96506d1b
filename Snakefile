# stnuclei: train H&E nuclei models from spatial transcriptomics (arXiv 2604.23481).
#   snakemake --cores 8                      the samples of config/samples.tsv
#   snakemake --cores 2 --configfile config/demo/config.yaml
#   snakemake slides | labels | patches | train | classifiers | tables | expression | segment | publish --cores 8   one stage, what it needs
from snakemake.utils import min_version

min_version("9.19")


container: "docker://stnuclei/stnuclei:0.1.0"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/sample_inputs.smk"
include: "workflow/rules/training_inputs.smk"
include: "workflow/rules/classify_inputs.smk"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",
    demo=DEMO,


include: "workflow/rules/resources.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/slides.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/patches.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation_inputs.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/classify.smk"
include: "workflow/rules/expression_inputs.smk"
include: "workflow/rules/expression.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/segmentation_inputs.smk"
include: "workflow/rules/segmentation.smk"
include: "workflow/rules/report.smk"


# Rules without a script run locally by default.
rule all:
    default_target: True
    input:
        report_inputs(),
        "<results>/report.html",
        "<results>/report.zip",


rule slides:
    input:
        slide_targets(),


rule labels:
    input:
        label_targets(),


rule patches:
    input:
        patch_targets(),


rule train:
    input:
        training_targets(),


rule classifiers:
    input:
        classifier_targets(),


rule tables:
    input:
        table_targets(),


rule expression:
    input:
        expression_targets(),


rule segment:
    input:
        segmentation_targets(),


rule publish:
    input:
        expand("<results>/published/{sample}.zarr", sample=SAMPLES["sample"]),


onstart:
    stop_if_files_are_missing()
    keep_other_runs_out()
    keep_going_past_failed_samples()


onsuccess:
    say_where_results_are()


onerror:
    say_which_jobs_failed(log)
