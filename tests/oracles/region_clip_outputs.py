"""Write tests/data/region_clip/outputs.npz: what open_clip makes of the small network's pictures and texts.

Runs where open_clip 3.3 is installed, which the project does not need: ``PYTHONPATH=. python
tests/oracles/region_clip_outputs.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.modified_resnet import ModifiedResNet

from tests.support.small_region_clip import DEPTHS, OUT, SIDE, TEXT, WIDTH, pictures, tokens, weights

FOLDER = Path(__file__).parents[1] / "data" / "region_clip"


def main() -> None:
    """Write the file."""
    tensors = {name: torch.as_tensor(value) for name, value in weights().items()}
    visual = ModifiedResNet(DEPTHS, OUT, WIDTH * 32 // 64, image_size=32 * SIDE, width=WIDTH).eval()
    own = {name.removeprefix("backbone."): value for name, value in tensors.items() if name.startswith("backbone.")}
    left = visual.load_state_dict(own, strict=False)
    assert not left.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in left.missing_keys)
    text = CLIPTextCfg(
        context_length=TEXT["length"], vocab_size=TEXT["words"], width=TEXT["width"], heads=1, layers=TEXT["layers"]
    )
    network = CLIP(OUT, CLIPVisionCfg(layers=1, width=64, image_size=32, patch_size=16), text, quick_gelu=True).eval()
    words = {
        name.removeprefix("lang_encoder."): value for name, value in tensors.items() if name.startswith("lang_encoder.")
    }
    left = network.load_state_dict(words, strict=False)
    assert not left.unexpected_keys
    assert all(name.startswith(("visual.", "logit_")) or name == "attn_mask" for name in left.missing_keys)
    with torch.inference_mode():
        seen = visual(torch.as_tensor(pictures())).numpy()
        read = network.encode_text(torch.as_tensor(tokens())).numpy()
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "outputs.npz", pictures=seen, texts=read)


if __name__ == "__main__":
    main()
