"""Source `scenes`: generated images of simple shapes, with captions that can be checked for truth."""

from captioner.data.scenes.source import example as example
from captioner.data.scenes.source import scenes as scenes
