"""What the tests of the benchmarks compare: the contenders in float32, on the smallest shape."""

from benchmarks import shapes, steps
from benchmarks.session import Session

SHAPE = shapes.QUICK[0]
FLOAT32 = [name for name in steps.learners(Session.has_torch) if name != "bfloat16"]
