"""From the data to the tables of the model card by one command, which goes on where it was interrupted.

Split, drawn scenes, training, export, thresholds and calibration, the fit of the sizes, the row of the catalogue, and
the new weights beside the old ones on ``test``. What each step tells is kept in the folder; a step whose file is there
is not done again, but for the training, which resumes.

    python training/pipeline.py --out RUN [--old WEIGHTS] [--scenes 2400] [arguments of train.py, such as --steps 6000]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parent / "src" / "napari_foundseg" / "models" / "weights" / "foundseg-tiny.safetensors"


def call(told: Path | None, script: Path, *arguments: object) -> None:
    """Run a script; keep what it prints in a file, unless that is there from before."""
    if told is not None and told.exists():
        return
    command = [sys.executable, str(script), *map(str, arguments)]
    print(*command, flush=True)
    done = subprocess.run(command, check=True, stdout=None if told is None else subprocess.PIPE, text=True)
    if told is not None:
        told.write_text(done.stdout)
        print(done.stdout, flush=True)


def main() -> None:
    """Do the steps that are left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--old", type=Path, help="weights to compare with; by default those shipped until now")
    parser.add_argument("--scenes", type=int, default=2400)
    options, of_training = parser.parse_known_args()
    run = options.out
    run.mkdir(parents=True, exist_ok=True)
    old = run / "old.safetensors"
    if not old.exists():
        shutil.copy(options.old or WEIGHTS, old)
    scenes = run / "scenes"
    call(run / "split.txt", HERE / "split.py")
    call(None, HERE / "synthetic.py", "--out", scenes, "--count", options.scenes)
    call(None, HERE / "train.py", "--out", run, "--scenes", scenes, "--start", old, *of_training, "--resume")
    call(None, HERE / "train.py", "--out", run, "--export", WEIGHTS)
    call(run / "choose.txt", HERE / "choose.py", WEIGHTS, "--search", "--out", run / "choose.json")
    call(run / "sizes.txt", HERE / "size_weights.py", "--weights", WEIGHTS, "--out", run / "sizes.json")
    call(None, HERE / "catalogue.py", run / "choose.json", run / "sizes.json")
    print("thresholds for tasks/automatic_settings.py:", json.loads((run / "choose.json").read_text())["thresholds"])
    call(run / "card.txt", HERE.parent / "benchmarks" / "weights.py", old, WEIGHTS)


if __name__ == "__main__":
    main()
