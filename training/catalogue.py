"""Write what was found about the exported weights into the catalogue: hash and size, and what was fitted.

python training/catalogue.py [FITTED.json ...]
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "src" / "napari_foundseg" / "models"
#: Numbers of the row that are fitted to the weights.
FITTED = ("calibration", "size_weights")


def main() -> None:
    """Update the row of foundseg-tiny, the first of the catalogue."""
    data = (MODELS / "weights" / "foundseg-tiny.safetensors").read_bytes()
    values = {"sha256": f'"{hashlib.sha256(data).hexdigest()}"', "size_mb": f"{len(data) / 1e6:.1f}"}
    for path in sys.argv[1:]:
        fitted = json.loads(Path(path).read_text())
        values |= {name: json.dumps(fitted[name]) for name in FITTED if name in fitted}
    path = MODELS / "catalog.toml"
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, count=1, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
