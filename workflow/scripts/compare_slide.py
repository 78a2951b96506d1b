"""Hold a slide's predicted classes against the labels from its gene expression; files for Xenium Explorer."""

from stnuclei.evaluation import compare_slide, draw_agreement
from stnuclei.export import write_explorer
from stnuclei.io import open_sample
from stnuclei.io.nuclei_file import NucleiFile
from stnuclei.joblog import job

source, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
with job(snakemake.log[0], f"agreement of {wildcards.wsi} by {wildcards.segmenter}"):
    nuclei, sample = NucleiFile(source.nuclei), open_sample(source.store)
    agreement = compare_slide(nuclei, sample, source.labels, radius_um=params.radius_um)
    agreement.write(output.confusion, output.nuclei, output.scores)
    print(agreement.scores().to_string(index=False))
    seen = " (a slide this model was trained on)" if params.seen else ""
    title = f"{wildcards.wsi}, model {wildcards.segmenter}{seen}, labels {params.labels}"
    draw_agreement(agreement, sample.um_per_px, output.figure, title)
    write_explorer(nuclei, sample, agreement.nuclei, output.explorer)
