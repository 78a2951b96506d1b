"""Ways to change a sample: other pixels, nuclei moved or turned."""

import dataclasses

import numpy as np

from samples import PixelSlide
from stnuclei.quality import find_tissue
from stnuclei.quality.shift import transform


def with_pixels(sample, pixels):
    return dataclasses.replace(sample, he=PixelSlide(pixels, sample.he.path))


def moved(sample, linear, shift=(0.0, 0.0)):
    """The sample with its nuclei turned about the slide's middle by a matrix, then shifted by (x, y) he_px."""
    middle = np.array(sample.he.shape[1::-1]) / 2
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, middle - np.asarray(linear) @ middle + shift
    return dataclasses.replace(sample, nuclei=transform(sample.nuclei, matrix))


def tissue_of(sample, *settings, **more):
    return find_tissue(sample.he, sample.um_per_px, *settings, name=sample.name, **more)


def turn(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
