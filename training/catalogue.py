"""Write hash and size of the exported weights into the catalogue."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "src" / "napari_foundseg" / "models"


def main() -> None:
    """Update the row of foundseg-tiny."""
    data = (MODELS / "weights" / "foundseg-tiny.safetensors").read_bytes()
    path = MODELS / "catalog.toml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'sha256 = ".*"', f'sha256 = "{hashlib.sha256(data).hexdigest()}"', text, count=1)
    path.write_text(re.sub(r"size_mb = [\d.]+", f"size_mb = {len(data) / 1e6:.1f}", text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
