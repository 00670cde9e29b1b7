"""Builds the pages into `build/site`, notebooks executed: `python -m docs`.

A broken link, a cell that fails or a name that the reference does not find is an error. Needs
`pip install -e '.[docs]'`; nothing is fetched.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """The exit code of the build."""
    quiet = {"DISABLE_MKDOCS_2_WARNING": "true", "NO_MKDOCS_2_WARNING": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **quiet}, check=False)
    if not done.returncode:
        print(f"wrote {ROOT / 'build' / 'site' / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
