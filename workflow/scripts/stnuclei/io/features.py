"""Kinds of features: genes, proteins, and controls that measure noise."""

from __future__ import annotations

import re

import numpy as np

GENE, PROTEIN, CONTROL = "gene", "protein", "control"

_BY_TYPE = {
    "gene expression": GENE,
    "protein expression": PROTEIN,
    "antibody capture": PROTEIN,
    "negative control probe": CONTROL,
    "negative control codeword": CONTROL,
    "unassigned codeword": CONTROL,
    "blank codeword": CONTROL,
    "deprecated codeword": CONTROL,
    "genomic control": CONTROL,
}
#: codeword_category values of transcripts.parquet (XOA 3) that are genes.
GENE_CATEGORIES = ("predesigned_gene", "custom_gene")

# Xenium's, then CosMx's (NegPrb, Negative1, SystemControl, FalseCode); MERSCOPE's are called Blank-1.
_CONTROL_NAME = re.compile(
    r"^(NegControl(Probe|Codeword)|antisense_|BLANK|UnassignedCodeword|DeprecatedCodeword|Intergenic_Region|"
    r"GenomicControl|NegPrb|DeprecatedProbe|Negative\d|SystemControl|FalseCode)",
    re.IGNORECASE,
)


def is_control_name(names: np.ndarray) -> np.ndarray:
    """True if a feature's name is a control's, (n,) bool: how XOA 1 and 2 transcripts tell them."""
    return np.array([bool(_CONTROL_NAME.match(name)) for name in names], dtype=bool)


def classify(types: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Tell genes, proteins and controls apart.

    Parameters
    ----------
    types
        Feature types as the matrix states them (n,) str.
    names
        Feature names (n,) str; a gene whose name is a control's is a control (old matrices type everything a gene).

    Returns
    -------
    (n,) str of ``gene``, ``protein``, ``control``; an unknown type is a control, so never a gene by accident.
    """
    kinds = np.array([_BY_TYPE.get(name.strip().lower(), CONTROL) for name in types], dtype=object)
    kinds[(kinds == GENE) & is_control_name(names)] = CONTROL
    return kinds
