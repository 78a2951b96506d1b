"""The published post-processing, one library call a step: the yardstick for results and for speed.

Written from the description of the steps (HoVer-Net's watershed as CellViT runs it) and from nothing else.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed


def _drop_small(labels, size):
    areas = np.bincount(labels.ravel())
    labels[(areas < size)[labels]] = 0
    return labels


def _scaled(values):
    return cv2.normalize(values, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_32F)


def separate_nuclei_plain(foreground, hv, um_per_px=0.25):
    """(H, W) bool and (2, H, W) float32 -> (H, W) int32 by scipy, skimage and cv2 alone."""
    ksize, object_size = (21, 10) if um_per_px < 0.375 else (11, 3)
    mask = np.array(foreground >= 0.5, dtype=np.int32)
    mask = (_drop_small(ndimage.label(mask)[0], 10) > 0).astype(np.int32)
    h, v = _scaled(hv[0].astype(np.float32)), _scaled(hv[1].astype(np.float32))
    edge_h = 1 - _scaled(cv2.Sobel(h, cv2.CV_64F, 1, 0, ksize=ksize))
    edge_v = 1 - _scaled(cv2.Sobel(v, cv2.CV_64F, 0, 1, ksize=ksize))
    overall = np.maximum(edge_h, edge_v)
    overall = overall - (1 - mask)
    overall[overall < 0] = 0
    distance = -cv2.GaussianBlur((1.0 - overall) * mask, (3, 3), 0)
    marker = mask - (overall >= 0.4).astype(np.int32)
    marker[marker < 0] = 0
    marker = ndimage.binary_fill_holes(marker).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    marker = cv2.morphologyEx(marker, cv2.MORPH_OPEN, kernel)
    marker = _drop_small(ndimage.label(marker)[0], object_size)
    return watershed(distance, markers=marker, mask=mask > 0)


def nuclei_plain(instances, types):
    """One dict a nucleus by per-instance crops: bbox, contour, centroid, class, share of the class."""
    nuclei = []
    for nucleus in np.unique(instances)[1:]:
        mask = instances == nucleus
        rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)
        top, bottom = np.where(rows)[0][[0, -1]]
        left, right = np.where(columns)[0][[0, -1]]
        crop = mask[top : bottom + 1, left : right + 1].astype(np.uint8)
        moments = cv2.moments(crop)
        contour = cv2.findContours(crop, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0][0].reshape(-1, 2)
        if len(contour) < 3:
            continue
        inside = types[mask]
        values, counts = np.unique(inside, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        chosen = values[order[0]]
        if chosen == 0 and len(values) > 1:
            chosen = values[order[1]]
        nuclei.append(
            {
                "id": int(nucleus),
                "bbox": (top, left, bottom + 1, right + 1),
                "contour": contour + (left, top),
                "centroid": (moments["m10"] / moments["m00"] + left, moments["m01"] / moments["m00"] + top),
                "class": int(chosen),
                "class_probability": counts[values == chosen][0] / (mask.sum() + 1e-6),
            }
        )
    return nuclei


def same_partition(a, b):
    """True if two label maps are equal but for the numbers of their regions."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return np.array_equal(a > 0, b > 0) and pairs.shape[1] == len(np.unique(a)) == len(np.unique(b))
