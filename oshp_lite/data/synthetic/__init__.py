"""Procedural people: the dataset that needs no download."""

from oshp_lite.data.synthetic import portrait
from oshp_lite.data.synthetic.atoms import ATOMS, Atom, merge_table
from oshp_lite.data.synthetic.generate import bench, generate
from oshp_lite.data.synthetic.scenes import GENERATOR_VERSION, SPECS, Scene, Spec, scene
