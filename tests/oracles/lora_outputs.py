"""Write tests/data/lora: an adapter as PEFT saves it, and features of a small SAM with it by PEFT's own forward pass.

Needs peft 0.21.2 and accelerate beside the test requirements:

python -m tests.oracles.lora_outputs
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from tests.support.small_sam import small_sam

OUT = Path(__file__).parents[1] / "data" / "lora"


def main() -> None:
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, target_modules=["qkv", "lin1", "patch_embed.proj", "neck.2"],
        rank_pattern={"lin1": 2}, alpha_pattern={"blocks.1.mlp.lin1": 3}, init_lora_weights=False,
        base_model_name_or_path="small-sam",
    )  # fmt: skip
    model = get_peft_model(small_sam(), config).eval()
    model.peft_config["default"].base_model_name_or_path = "small-sam"
    model.save_pretrained(OUT)
    (OUT / "README.md").unlink(missing_ok=True)
    stored = (torch.rand(1, 3, 128, 128) * 255).byte()
    with torch.inference_mode():
        features = model.base_model.model.image_encoder(stored / 255)
    np.savez_compressed(OUT / "outputs.npz", picture=stored.numpy(), features=features.numpy())


if __name__ == "__main__":
    main()
