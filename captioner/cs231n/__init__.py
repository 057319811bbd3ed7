"""The API of Stanford CS231n, assignment 3, in modules named like the assignment's files.

To run a notebook, replace `cs231n` by `captioner.cs231n` in its imports. All names can also be imported from this
package. Random numbers are drawn from NumPy's global state, as in the assignment, so `np.random.seed(231)` reproduces
its numbers.

Source: CS231n, assignment 3: rnn_layers.py, layers.py, optim.py, captioning_solver.py, coco_utils.py,
gradient_check.py, classifiers/rnn.py; transformer_layers.py, and layers.py of assignment 2;
for `attention_layers`, EECS 498 (University of Michigan).
"""

# ruff: noqa: F403

from captioner.cs231n.attention_layers import *
from captioner.cs231n.captioning_solver import *
from captioner.cs231n.classifiers.rnn import *
from captioner.cs231n.coco_utils import *
from captioner.cs231n.gradient_check import *
from captioner.cs231n.layers import *
from captioner.cs231n.optim import *
from captioner.cs231n.rnn_layers import *
from captioner.cs231n.transformer_layers import *
