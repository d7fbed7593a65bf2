"""What the start of the command line costs beyond Python and typer: `python benchmarks/start.py [OTHER_SRC]`.

With the `src` folder of another checkout both are measured in turn, and their ratio is printed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1] / "src"
COMMANDS = {"--help": ["--help"], "models list": ["models", "list"]}
PLAIN = "import typer, typer.rich_utils"
#: As the installed command does; older checkouts have no `python -m napari_foundseg`.
ENTRY = "from napari_foundseg.cli import main; main()"
TIMES = 5


def processor_seconds(arguments: list[str], source: Path) -> float:
    """Return the processor time of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(source)}
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure each command, the sources in turn."""
    sources = [HERE, *(Path(path) for path in sys.argv[1:2])]
    plain = median(processor_seconds(["-c", PLAIN], HERE) for _ in range(TIMES))
    print(f"python and typer: {plain:.2f} s")
    for name, arguments in COMMANDS.items():
        command = ["-c", ENTRY, *arguments]
        rounds = [[processor_seconds(command, source) for source in sources] for _ in range(TIMES)]
        beyond = [median(times) - plain for times in zip(*rounds, strict=True)]
        other = f", other {beyond[1]:.2f} s, ratio {beyond[0] / beyond[1]:.2f}" if len(beyond) > 1 else ""
        print(f"{name}: {beyond[0]:.2f} s beyond{other}")


if __name__ == "__main__":
    main()
