"""Shell completion of commands and options."""

import os
from collections.abc import Callable
from typing import Any


def test_completion_loads_nothing_heavy(shell: Callable[..., Any]) -> None:
    code = (
        "import atexit, sys; from captioner.cli import main\n"
        "heavy = {'numpy', 'h5py', 'yaml', 'tqdm'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    environment = {"_CAPTIONER_COMPLETE": "bash_complete", "COMP_WORDS": "captioner train --ove", "COMP_CWORD": "2"}
    done = shell(code=code, env={**os.environ, **environment})
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,--overfit\nplain,--overwrite\n", "[]\n")
