"""Version 5 of the procedural people, drawn to be looked at: the book's. Version 4 stays the study's."""

from oshp_lite.data.synthetic.portrait.fabrics import CLOTH, LIFE, NOTHING
from oshp_lite.data.synthetic.portrait.stage import GENERATOR_VERSION, scene
