"""Run the benchmarks: `python -m benchmarks`, or some of them: `python -m benchmarks accuracy tiling`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run each benchmark in a process of its own."""
    there = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    chosen = sys.argv[1:] or there
    if unknown := set(chosen) - set(there):
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(there)}")
        return 2
    return max(subprocess.call([sys.executable, str(HERE / f"{name}.py")]) for name in chosen)


if __name__ == "__main__":
    sys.exit(main())
