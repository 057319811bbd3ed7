"""The command captioner, also as python -m captioner."""

from __future__ import annotations

import sys

from captioner.errors import CaptionerError, check_platform


def main() -> None:
    """Run the command line, which cannot be imported on all systems, and exit with its exit code."""
    try:
        check_platform()
        from captioner.cli import main

        main()
    except CaptionerError as error:
        sys.exit(f"captioner: {error}")
    except KeyboardInterrupt:  # while it is imported; `main` catches later ones
        sys.exit(130)


if __name__ == "__main__":
    main()
