"""Grades of submissions: whatever the code does, only numerically right functions pass, and the others are graded."""

import ast
import py_compile
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import sin as sine
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner import cs231n
from captioner.cs231n import lstm_step_forward
from captioner.cs231n.notebook import check, save
from captioner.errors import UsageError
from captioner.teaching import child_process
from captioner.teaching.cli import LEAST_MEMORY
from captioner.teaching.function_checks import SIGNATURES, Exercises, Signature
from captioner.teaching.grading import Grade, Limits, grade_files, load_cases, read_points

USUAL = Exercises(vars(cs231n))
PACKAGE = str(Path(captioner.__file__).parent)
AFFINE = f"{PACKAGE}/layers/affine.py"
COURSE = str(Path(__file__).parents[2] / "docs" / "course")
RAISED = "raised PermissionError: a submission cannot use "
UNREADABLE = "sends no answer that can be read"
# empties the cells of the audit hook, if the frame of its error leads to it
UNLOCK = """
    try: open(UNLOCKED)
    except PermissionError as error:
        frame = error.__traceback__.tb_next.tb_frame
        for value in [*frame.f_locals.values()]:
            for cell in getattr(value, "__closure__", None) or ():
                if isinstance(cell.cell_contents, frozenset): cell.cell_contents = frozenset()
    open(UNLOCKED)
""".strip()
# what a backward function does, whose forward function is right, and its problem
ATTACKS = {
    "exit": ("os._exit(0)", "ends the process (exit code 0)"),
    "system_exit": ("exit(0)", "raised SystemExit: 0"),
    "interrupt": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "thread": ("threading.Timer(0, os._exit, (0,)).start(); time.sleep(60)", "ends the process (exit code 0)"),
    "signal": ("signal.raise_signal(9)", "ends the process (Killed)"),
    "alarm": (
        "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(60)",
        "ends the process (Alarm clock)",
    ),
    "endless": ("while True: pass", "exceeds the time limit of 5 s"),
    "slow": (
        "while True: time.sleep(1e-4); send(b'0')",
        "exceeds the time limit of 5 s",
    ),
    "close": ("os.closerange(0, 99); time.sleep(60)", UNREADABLE),
    "garbage": (r"send(b'PASS\n')", UNREADABLE),
    "deep": (r"send(b'[' * 10**6 + b'\n')", UNREADABLE),
    "long": ("while True: send(b'[0, ' * 10**6)", UNREADABLE),
    "no_message": (r"send(b'[0, 0]\n')", UNREADABLE),
    "no_text": (r"send(b'[[], 0]\n')", UNREADABLE),
    "no_array": (r"""send(b'["returned", {"_array": ["O", [1], "AAAAAAAAAAA="]}]\n')""", UNREADABLE),
    "no_shape": (r"""send(b'["returned", {"_array": ["<f8", [99999999999], ""]}]\n')""", UNREADABLE),
    "print": ("while True: print('x' * 10**6)", "raised OSError: [Errno 27] File too large"),
    "memory": ("return np.ones((10**5, 10**5))", "exceeds the 4096 MB of memory: raised numpy._core"),
    "huge": (
        "return np.broadcast_to(1.0, (10**5, 10**5))",
        "a value cannot be sent: expected arrays of at most 8,388,608 bytes, got 80,000,000,000",
    ),
    "subclass": (
        "return x.view(type('Right', (np.ndarray,), {'__sub__': min}))",
        "dx: expected an array of float64, got Right",
    ),
    "object": ("return x.astype(object)", "dx: expected an array of float64, got object"),
    "name": ("return type('\\x1b[31m', (), {})()", r"dx: expected an array of float64, got \x1b[31m"),
    "nan": ("return x * np.nan", "dx: expected finite numbers"),
    "frames": ("f = sys._getframe(1); return f.f_locals.get('grads', 0 * x)", "differs from numeric gradients"),
    "patch": ("np.abs = np.max = np.vdot = lambda *a, **k: 0; return 0 * x", "differs from numeric gradients"),
    "fork": ("os.fork()", RAISED + "os.fork"),
    "spawn": ("subprocess.run(['true'])", RAISED + "subprocess.Popen"),
    "kill": ("os.kill(os.getppid(), 9)", RAISED + "os.kill"),
    "limit": ("resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))", RAISED + "resource.prlimit"),
    "terminal": ("open('/dev/tty', 'w')", "raised OSError: [Errno 6]"),
    "native": ("ctypes.pythonapi.Py_Exit", RAISED + "ctypes.dlsym"),
    "network": ("socket.create_connection(('127.0.0.1', 9))", RAISED + "socket."),
    "late_import": ("importlib.import_module('captioner.layers')", "raised ModuleNotFoundError"),
    "unstubbed": (
        "del sys.modules['captioner']; import captioner",
        "raised ImportError: a submission cannot import captioner",
    ),
    "other_name": ("from captioner.cs231n import sigmoid", "raised ImportError: cannot import name 'sigmoid'"),
    "memory_of_the_grader": ("open(f'/proc/{os.getppid()}/mem', 'r+b')", RAISED + "/proc/"),
    "hook": ("sys.modules['__main__'].REFUSED = (); import gc; gc.get_objects()", RAISED + "gc.get_objects"),
    "library": (
        "import _imp; _imp.create_dynamic(importlib.machinery.ModuleSpec('a', None, origin='/a'))",
        RAISED + "/a",
    ),
    "course": (f"open('{COURSE}/plain.py')", RAISED + COURSE),
    "closure": (UNLOCK, RAISED + AFFINE),
    "interpreter": (
        ("import _interpreters as i; i.create()", "raised ImportError: a submission cannot import _interpreters")
        if sys.version_info >= (3, 13)
        else ("import _xxsubinterpreters as i; i.create()", "raised RuntimeError: interpreter creation failed")
    ),
    "read": (f"open('{AFFINE}')", RAISED + AFFINE),
    "memmap": (f"np.memmap('{AFFINE}')", RAISED + AFFINE),
    "run": (f"runpy.run_path('{AFFINE}')", RAISED + AFFINE),
    "link": (f"os.symlink('{AFFINE}', 'copy')", RAISED + AFFINE),
    "no_built_in": (f"builtins.PermissionError = len; os.stat = None; open('{AFFINE}')", "raised TypeError"),
    "right": ("return 2 * dout", ""),
}
ATTACKER = f"""UNLOCKED = {AFFINE!r}
import builtins, ctypes, importlib, json, os, resource, runpy, signal, socket
import subprocess, sys, threading, time
import numpy as np
def send(content): os.write(int(sys.argv[1]), content)
"""


def graded(folder: Path, text: str, require: str = "affine") -> Grade:
    """Grade one file with a text."""
    (folder / "student.py").write_text(text)
    (grade,) = grade_files([folder / "student.py"], USUAL, read_points(require, USUAL))
    return grade


@pytest.fixture(scope="module")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Grade:
    """The grade of a file with all attacks, each in a function of its own."""
    path = tmp_path_factory.mktemp("attacks") / "student.py"
    pair = "def {0}_forward(x): return 2 * x, x\ndef {0}_backward(dout, x):\n    {1}\n"
    path.write_text(ATTACKER + "".join(pair.format(name, code) for name, (code, _) in ATTACKS.items()))
    signatures = {name: Signature({"x": "ND"}) for name in ATTACKS}
    reference = {f"{name}_forward": lambda x: (2 * x, None) for name in ATTACKS}
    (grade,) = grade_files([path], Exercises(reference, signatures), {})
    return grade


def test_a_process_without_its_grader_executes_nothing() -> None:
    """The grader may be stopped before the process asks the kernel to be killed with it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(child_process.dumps(("a.py", np.frombuffer(b"while True: pass", np.uint8), [], [])))
        command = [sys.executable, "-P", child_process.__file__, str(theirs.fileno()), "1", "0"]
        done = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "the grader has ended\n")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_only_its_own_function(name: str, attacks: Grade) -> None:
    assert not attacks.results[f"{name}_forward"].problem, attacks
    problem = attacks.results[f"{name}_backward"].problem
    assert problem.startswith(ATTACKS[name][1]), problem
    assert bool(problem) == bool(ATTACKS[name][1])


RIGHT_FORWARD = "def affine_forward(x, w, b): return x.reshape(len(x), -1) @ w + b, (x, w)\n"
ZEROS = "def affine_backward(dout, cache): return 0 * cache[0], 0 * cache[1], 0 * dout.sum(axis=0)\n"
CHEATS = {
    "import os; os._exit(0)": "not checked: ",
    "import atexit, os; atexit.register(os._exit, 0); exit(0)": "not checked: ",
    RIGHT_FORWARD: "missing",
    "import __main__; __main__.run = lambda *a: ('returned', True)\n" + RIGHT_FORWARD + ZEROS: "not checked: ",
    # answers all calls itself, with an empty problem
    f"""import os, sys
{RIGHT_FORWARD}
def affine_backward(dout, cache):
    while os.write(int(sys.argv[1]), b'["raised", ""]\\n'): os.read(int(sys.argv[1]), 1 << 20)
""": "fails",
    f"def affine_forward(x, w, b): return [[0.0]] * len(x) + 0 * b, (x, w)\n{ZEROS}": "it needs a correct ",
    # a forged answer, of no names
    r"""import os, sys
os.write(int(sys.argv[1]), b'["returned", [{"_array": ["<f8", [2], "AAAAAAAAAAAAAAAAAAAAAA=="]}]]\n')""": "missing",
    # outputs of nearly the same inputs are the same, so the numeric gradient of this function is 0
    f"""import numpy as np
seen = {{}}
def affine_forward(x, w, b):
    key = tuple(np.round(a, 3).tobytes() for a in (x, w, b))
    return seen.setdefault(key, x.reshape(len(x), -1) @ w + b), (x, w)
{ZEROS}""": "differs from numeric gradients",
    "from captioner.cs231n import *": "missing: the file does not define it",
    f"{RIGHT_FORWARD}{ZEROS}from captioner.cs231n import affine_backward": "missing: it is no function at the end of",
    """from captioner import cs231n
affine_forward = lambda *args: cs231n.affine_forward(*args)
affine_backward = lambda *args: cs231n.affine_backward(*args)""": "not checked: ",
    # a layer that consists of the required one
    """from captioner.cs231n.rnn_layers import temporal_affine_forward, temporal_affine_backward
def affine_forward(x, w, b):
    out, cache = temporal_affine_forward(x.reshape(len(x), 1, -1), w, b)
    return out[:, 0], cache
def affine_backward(dout, cache): return temporal_affine_backward(dout[:, None], cache)""": "not checked: ",
}


@pytest.mark.parametrize("text", CHEATS)
def test_a_cheat_has_no_points_for_the_backward_function(text: str, tmp_path: Path) -> None:
    grade = graded(tmp_path, text, "affine,multi_head_attention")  # whose attention may call temporal_affine
    problem = grade.results["affine_backward"].problem
    assert CHEATS[text] in problem, problem
    assert "affine_backward" in grade.failed()


GLOBAL = """import numpy as np
def rnn_step_forward(x, prev_h, Wx, Wh, b):
    global last
    h = np.tanh(x @ Wx + prev_h @ Wh + b)
    last = x, prev_h, Wx, Wh, h
    return h, None
def rnn_step_backward(dh, cache):
    x, prev_h, Wx, Wh, h = last
    da = dh * (1 - h**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)
"""
LSTM = """import numpy as np
def sigmoid(z): return {sigmoid}
def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    i, f, o, g = np.split(x @ Wx + prev_h @ Wh + b, 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c = f * prev_c + i * g
    return o * np.tanh(c), c, None
"""


def test_a_backward_function_that_reads_the_last_call_fails(tmp_path: Path) -> None:
    grade = graded(tmp_path, GLOBAL, "rnn_step")
    assert grade.failed() == ["rnn_step_backward"]
    right = GLOBAL.replace("return h, None", "return h, last").replace("= last\n    da", "= cache\n    da")
    assert graded(tmp_path, right, "rnn_step").failed() == []


def test_an_overflow_of_a_sigmoid_fails(tmp_path: Path) -> None:
    wrong = graded(tmp_path, LSTM.format(sigmoid="np.exp(z) / (1 + np.exp(z))"), "lstm_step_forward")
    assert wrong.results["lstm_step_forward"].problem.endswith(
        "got NaN or infinity [gates near 1000: is exp of a large number avoided?]"
    )
    assert graded(tmp_path, LSTM.format(sigmoid="1 / (1 + np.exp(-z))"), "lstm_step_forward").failed() == []


SLOW = """import numpy as np, time
def sleep(name): print(name); time.sleep(60)
def rnn_step_forward(x, prev_h, Wx, Wh, b): sleep("step")
def rnn_step_backward(dnext_h, cache): pass
def all_steps(x, h0, *weights): return [rnn_step_forward(x[:, 0], h0, *weights)]
def rnn_forward(*args): sleep("loop"); return all_steps(*args)
def rnn_backward(dh, cache): pass
def affine_forward(x, w, b): return x.reshape(len(x), -1) @ w + b, 0
"""


def test_an_endless_function_is_waited_for_once(tmp_path: Path) -> None:
    (tmp_path / "student.py").write_text(SLOW)
    points = read_points("rnn_step,rnn,affine_forward", USUAL)
    (grade,) = grade_files([tmp_path / "student.py"], USUAL, points, Limits(seconds=5))
    assert grade.printed == "step\n"
    assert {name: result.problem for name, result in grade.results.items()} == {
        "affine_forward": "",
        "rnn_step_forward": "exceeds the time limit of 5 s",
        "rnn_step_backward": "not checked: it needs a correct rnn_step_forward",
        "rnn_forward": "fix rnn_step_forward first; not checked: rnn_step_forward exceeds the time limit of 5 s",
        "rnn_backward": "not checked: it needs a correct rnn_forward",
    }


def test_files_that_are_graded_at_the_same_time_have_the_same_grades_in_order(tmp_path: Path) -> None:
    wrong = ZEROS.replace("0 * cache[0]", "cache[0]")
    texts = [RIGHT_FORWARD + ZEROS, "import time; time.sleep(999)", RIGHT_FORWARD + wrong, "def f(:", RIGHT_FORWARD]
    paths = [tmp_path / f"{i}.py" for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    first, second = (
        [*grade_files(paths, USUAL, read_points("affine", USUAL), Limits(seconds=10), jobs)] for jobs in (1, 4)
    )
    assert [grade.path for grade in second] == paths
    assert first == second


@pytest.mark.parametrize("memory", [LEAST_MEMORY, 384])
def test_less_memory_is_enough_for_the_exercises(memory: int, tmp_path: Path) -> None:
    text = (Path(COURSE) / "plain.py").read_text()
    large = "def affine_forward(x, w, b): return np.ones(10**8), 0\n"
    (tmp_path / "student.py").write_text(text + large)
    (grade,) = grade_files([tmp_path / "student.py"], USUAL, read_points("affine,lstm", USUAL), Limits(memory=memory))
    assert grade.failed() == ["affine_forward", "affine_backward"]
    assert grade.results["affine_forward"].problem.startswith(f"exceeds the {memory} MB of memory: raised numpy")


HANDED_IN = {
    "get_ipython()\n": "; hand in the notebook, or the file that captioner.cs231n.notebook.save writes",
    "def rnn_step_bakward(): pass\n": "missing: the file does not define it; is it rnn_step_bakward?",
    "def RNN_step_backward(): pass\n": "missing: the file does not define it; is it RNN_step_backward?",
    "def rnn_step_fwd(): pass\ndef rnn_step_back(): pass\n": "is it rnn_step_back?",
    "def rnn_backward(): pass\ndef gru_step_bwd(): pass\n": "missing: the file does not define it",
    "import no_module, no.module as other\nfrom no_module import name\n": "missing: the file does not define it",
    "import no_module\nx = no_module\n": "raised ModuleNotFoundError: No module named 'no_module' (line 1)",
}


@pytest.mark.parametrize("text", HANDED_IN)
def test_reasons_say_what_to_do(text: str, tmp_path: Path) -> None:
    assert graded(tmp_path, text, "rnn_step_backward").results["rnn_step_backward"].problem.endswith(HANDED_IN[text])


STEPS = """import asyncio, copy, tempfile, unittest.mock
with tempfile.TemporaryDirectory(), tempfile.TemporaryFile(): pass
import numpy as np
from captioner.cs231n import rnn_step_backward, rnn_step_forward
from captioner.cs231n.notebook import check
from captioner.gradcheck.numeric import Case, check_gradients
from captioner.cs231n import eval_numerical_gradient_array
assert eval_numerical_gradient_array(np.square, np.ones(1), 1.0).round(6) == 2
def rnn_forward(x, h0, Wx, Wh, b):
    hidden, caches = [h0], []
    for xt in x.swapaxes(0, 1):
        h, cache = rnn_step_forward(x=xt, prev_h=hidden[-1], Wx=Wx, Wh=Wh, b=b)
        hidden.append(h), caches.append(cache)
    return np.stack(hidden[1:], axis=1), copy.deepcopy(caches)
def rnn_backward(dh, cache):
    dprev, dx, total = 0, [], 0
    for t in reversed(range(len(cache))):
        dxt, dprev, *grads = rnn_step_backward(dh[:, t] + dprev, cache=cache[t])
        dx.insert(0, dxt); total = [a + b for a, b in zip(grads, total or [0, 0, 0])]
    return np.stack(dx, axis=1), dprev, *total
check(rnn_forward, rnn_backward, cases="cases.py")
print(rnn_forward(np.ones((1, 2, 3)), np.ones((1, 4)), np.ones((3, 4)), np.ones((4, 4)), np.ones(4))[0].shape)
"""


@pytest.mark.parametrize("require", ["rnn", ""])
def test_a_submission_may_call_the_inner_functions_that_are_not_required(require: str, tmp_path: Path) -> None:
    (tmp_path / "student.py").write_text(STEPS)
    closed = Exercises(
        USUAL.reference, files=[tmp_path / "cases.py"]
    )  # also when the folder of temporary files has one
    points = read_points(require, closed) if require else {}
    (grade,) = grade_files([tmp_path / "student.py"], closed, points)
    assert grade.failed() == [], grade
    assert grade.printed == "(1, 2, 4)\n"
    refused = graded(tmp_path, STEPS, "rnn,rnn_step_backward").results["rnn_forward"].problem
    assert "raised RuntimeError: captioner's rnn_step_forward is not available here: write it (line 12)" in refused


def test_a_large_call_of_captioner_is_refused(tmp_path: Path) -> None:
    large = STEPS.replace("np.ones((1, 2, 3))", "np.ones((0, 2**40, 3))")
    assert (
        "captioner's rnn_step_forward takes arrays of at most 1,024 numbers"
        not in graded(tmp_path, STEPS, "rnn").problem
    )
    grade = graded(tmp_path, large.replace("for xt in x.swapaxes(0, 1)", "for xt in [x]"), "rnn")
    assert "captioner's rnn_step_forward takes arrays of at most 1,024 numbers here" in grade.problem
    wide = "import numpy as np\nfrom captioner.cs231n import affine_forward\none = np.ones(1024)\n"
    wide += "def temporal_affine_forward(*args): pass\nprint(affine_forward(one[:, None], one[None], one))"
    assert (
        "captioner's affine_forward returns too many numbers here" in graded(tmp_path, wide, "temporal_affine").problem
    )


def test_points() -> None:
    assert read_points("rnn_step_backward=3,rnn_step=2, temporal_softmax_loss,", USUAL) == {
        "temporal_softmax_loss": 1.0,
        "rnn_step_forward": 2.0,
        "rnn_step_backward": 3.0,
    }
    for text, problem in {
        "rnn_stp": r"rnn_stp: unknown function; did you mean rnn_step\?",
        "": "expected names of functions, such as rnn_step,lstm_step=2, got ''",
        "rnn,rnn": "rnn: expected each function once",
        "rnn=": "rnn=: expected NAME=POINTS",
        "rnn=0": "rnn=0: expected NAME=POINTS with points above 0, up to 1,000,000, such as rnn=2",
        "rnn=1e308": "up to 1,000,000",
    }.items():
        with pytest.raises(UsageError, match=problem):
            read_points(text, USUAL)


CASES = """from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from captioner.teaching.function_checks import Signature
from captioner.layers.gru import GRU
from captioner.layers.lstm import LSTM
WEIGHTS = {"Wx": "DG", "Wh": "HG", "b": "G"}
OF_LSTM = {"x": "ND", "prev_h": "NH", "prev_c": "NH", **WEIGHTS}
SIGNATURES = {
    "gru_step": Signature({"x": "ND", "prev_h": "NH", **WEIGHTS}, ("next_h",), GRU),
    "lstm_step": Signature(OF_LSTM, ("next_h", "next_c"), LSTM._replace(gate_names="fiog")),
}
@dataclass
class Cache: x: np.ndarray
def sigmoid(a): return 1 / (1 + np.exp(-a))
def gru_step_forward(x, h, Wx, Wh, b):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x @ Wx + b, 3, axis=1), np.split(h @ Wh, 3, axis=1)
    z = sigmoid(x_z + h_z)
    return (1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h, None
def lstm_step_forward(x, h, c, Wx, Wh, b):
    f, i, o, g = np.split(x @ Wx + h @ Wh + b, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c, None
"""


def test_a_teacher_adds_a_gru_and_changes_the_gate_order(tmp_path: Path) -> None:
    (tmp_path / "cases.py").write_text(CASES)
    exercises = load_cases(tmp_path / "cases.py", USUAL)
    assert [*exercises.signatures] == [*SIGNATURES, "gru_step"]
    plain = (Path(__file__).parents[2] / "docs" / "course" / "plain.py").read_text()
    order = plain.replace("a_i, a_f, a_o, a_g = ", "a_f, a_i, a_o, a_g = ")
    (tmp_path / "right.py").write_text(order.replace("[da_i, da_f, da_o, da_g]", "[da_f, da_i, da_o, da_g]"))
    (tmp_path / "wrong.py").write_text(order)
    (tmp_path / "usual.py").write_text(plain)
    paths = [tmp_path / name for name in ("right.py", "wrong.py", "usual.py")]
    right, wrong, usual = grade_files(paths, exercises, read_points("lstm_step,gru_step", exercises))
    assert right.failed() == []
    assert wrong.failed() == ["lstm_step_backward"]
    problem = wrong.results["lstm_step_backward"].problem
    assert problem.startswith("differs from")  # captioner's backward function has another order: it is no reference
    assert "(f 4.0e-01, i 4.0e-01, o " in problem
    assert usual.failed() == ["lstm_step_forward", "lstm_step_backward"]
    (tmp_path / "loop.py").write_text(f"{plain}\nfrom captioner.cs231n import lstm_step_backward\n")
    (grade,) = grade_files([tmp_path / "loop.py"], exercises, read_points("lstm_backward", exercises))
    assert "captioner's lstm_step_backward is not available here" in grade.results["lstm_backward"].problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1", "cases.py: expected SIGNATURES = {name: captioner.teaching.function_checks.Signature"),
        ("\n1 / 0", r"cases.py: raised ZeroDivisionError: division by zero \(line 2\)"),
        (
            CASES + "del gru_step_forward",
            "cases.py: expected the function gru_step_forward for gru_step of SIGNATURES",
        ),
        (
            CASES.replace('("next_h",)', '("next_h", "c")'),
            "does not fit its reference: WrongFunctionError: expected it to return next_h, c, cache, got 2 values",
        ),
        (CASES.replace(" GRU)", ' GRU._replace(gate_names="fh"))'), "gru_step: expected a cell with as many gates as"),
        (CASES.replace('"ND"', '"Nd"'), r"gru_step: expected the letters D, E, .*, got \['d'\]"),
        (CASES.replace(" GRU)", ' GRU, uses=("gru",))'), "does not fit its reference: KeyError: 'gru'"),
    ],
)
def test_wrong_cases(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "cases.py").write_text(text)
    with pytest.raises(UsageError, match=problem):
        load_cases(tmp_path / "cases.py", USUAL)


@pytest.mark.parametrize("code", ["open(other)", "open(other, 'w')", "import b", "os.rename(other, 'c.py')"])
def test_a_submission_cannot_use_another_one(code: str, tmp_path: Path) -> None:
    own, other = tmp_path / "a.py", tmp_path / "b.py"
    own.write_text(f"import os; other = __file__[:-4] + 'b.py'; {code}")
    other.write_text(RIGHT_FORWARD + ZEROS)
    (tmp_path / "r").mkdir()  # a mode is no file
    points = read_points("affine", USUAL)
    (of_cases,) = grade_files([own], Exercises(USUAL.reference, files=[other]), points)
    link, linked, deep = (tmp_path / f"{name}.py" for name in "cde")
    linked.write_text("")
    link.hardlink_to(linked)
    deep.write_text(f"x = a{'.a' * 100_000}")
    paths = [deep, own, other, Path("a" * 300), link, linked, linked]
    of_parser, first, later, of_long_name, *same = grade_files(paths, USUAL, points)
    assert "raised " in of_parser.problem
    for grade in (of_cases, first):
        assert grade.problem.endswith(f"a submission cannot use {other} (line 1)")
    assert later.failed() == ["affine_backward"]
    assert "File name too long" in of_long_name.problem
    assert [grade.problem for grade in same] == ["", "", f"{linked}: is listed twice; list each file once"]


def test_a_submission_cannot_use_the_course_of_a_clone_that_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, text in (
        ("docs/course/plain.py", RIGHT_FORWARD + ZEROS),
        ("cell.py", "exec(open('docs/course/plain.py').read())"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    (grade,) = grade_files([Path("cell.py")], USUAL, {})
    assert "a submission cannot use docs/course/plain.py" in grade.problem


def test_a_submission_may_use_what_is_beside_it_below_another_one(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "helper.py").write_text(RIGHT_FORWARD + ZEROS)
    paths = [tmp_path / "cell.py", tmp_path / "x" / "cell.py"]
    for path in paths:
        path.write_text("from helper import *")
    above, below = grade_files(paths, USUAL, read_points("affine", USUAL))
    assert "missing: the file does not define it" in above.results["affine_forward"].problem
    assert below.failed() == ["affine_backward"]


def test_a_submission_cannot_use_the_bytecode_of_another_one(tmp_path: Path) -> None:
    own, other = tmp_path / "a.py", tmp_path / "b.py"
    own.write_text("import b")
    other.write_text(RIGHT_FORWARD + ZEROS)
    py_compile.compile(str(other))
    first, _ = grade_files([own, other], USUAL, read_points("affine", USUAL))
    assert "a submission cannot use " in first.problem


def test_a_submission_cannot_use_what_is_beside_another_one(tmp_path: Path) -> None:
    for name in ("a", "b/lib"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a", "b"):
        text = "import sys; sys.path.append(__file__[:-9] + 'b/lib'); from helper import *"
        (tmp_path / name / "cell.py").write_text(text)
    (tmp_path / "b" / "lib" / "helper.py").write_text(RIGHT_FORWARD + ZEROS)
    paths = [tmp_path / name / "cell.py" for name in "ab"]
    first, second = grade_files(paths, USUAL, read_points("affine", USUAL))
    assert first.problem.endswith("helper.py (line 1)")
    assert second.failed() == ["affine_backward"]


@pytest.mark.parametrize("name", ["attention", "multi_head_attention", "decoder_layer"])
def test_an_exercise_may_use_the_functions_that_it_imports(name: str, tmp_path: Path) -> None:
    """Also beside required ones with which they could be computed."""
    tree = ast.parse((Path(COURSE) / "plain.py").read_text())
    inner = {function for used in USUAL.signatures[name].uses for function in USUAL.pair(used)}
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name not in inner]
    imports = f"from captioner.cs231n import {', '.join(sorted(inner))}\n" if inner else ""
    grade = graded(tmp_path, f"{imports}{ast.unparse(tree)}", f"affine,{name}")
    assert grade.failed() == [], grade


def test_functions_of_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rnn_step_forward(*args: np.ndarray) -> tuple[np.ndarray, None]:
        return cs231n.rnn_step_forward(*args)[0], None

    def rnn_step_backward(dout: np.ndarray, cache: None) -> None:
        raise NotImplementedError

    functions: list[Callable[..., object]] = [rnn_step_forward, rnn_step_backward]
    check(*functions)
    assert capsys.readouterr().out.splitlines() == [
        "rnn_step_forward               PASS  maximum relative error 0.0e+00",
        "rnn_step_backward              FAIL  not implemented",
    ]
    with pytest.raises(UsageError, match="functions_of: unknown function; expected one of affine_forward, "):
        check(functions_of)

    def gru_step_forward(*args: np.ndarray) -> None:
        raise NotImplementedError

    (tmp_path / "cases.py").write_text(CASES)
    check(gru_step_forward, cases=f"{tmp_path}/cases.py")
    assert capsys.readouterr().out == "gru_step_forward               FAIL  not implemented\n"


def test_functions_of_a_notebook_are_saved_with_those_that_they_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.py"):
        save(f"{tmp_path}/lesson.ipynb", affine_forward)
    save(f"{tmp_path}/student.py", affine_forward, affine_backward)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["affine_forward", "PASS"], ["affine_backward", "PASS"]]
    save(f"{tmp_path}/student.py", lstm_forward)
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["lstm_forward", "PASS"], first
    save(f"{tmp_path}/student.py", rnn_step_forward)
    first, second = capsys.readouterr().out.splitlines()
    assert "expected it to return next_h, cache, got 1 values" in first
    assert second.split()[:3] == ["rnn_step_backward", "FAIL", "missing:"]


def functions_of() -> None:
    """A name that is none of a function."""


def product_of(x, w):  # type: ignore[no-untyped-def]
    return np.array([rows_of(x) @ column for column in w.T]).T


def rows_of(x):  # type: ignore[no-untyped-def]
    return x.reshape(len(x), -1)


def affine_forward(x, w, b):  # type: ignore[no-untyped-def]
    return product_of(x, w) + b, Cache(x, w)


ZERO = 0.0


@dataclass
class Cache:
    """The arguments."""

    x: np.ndarray
    w: np.ndarray


def affine_backward(dout, cache, zero=ZERO):  # type: ignore[no-untyped-def]
    x, w = cache.x, cache.w
    return ((dout + sine(zero)) @ w.T).reshape(x.shape), rows_of(x).T @ dout, dout.sum(axis=0)


def lstm_forward(x, h0, Wx, Wh, b):  # type: ignore[no-untyped-def]
    states, hs = (h0, np.zeros_like(h0)), []
    for t in range(x.shape[1]):
        *states, _ = lstm_step_forward(x[:, t], *states, Wx, Wh, b)
        hs.append(states[0])
    return np.stack(hs, axis=1), None


HALVES = [0.5]


def rnn_step_forward(*args):  # type: ignore[no-untyped-def]
    return HALVES
