"""`scenes`, the embedded data set: generated pictures of simple shapes, whose captions can be told true from false."""

from captioner.data.scenes.source import example as example
from captioner.data.scenes.source import scenes as scenes
