"""Small random checkpoints in the published layouts: folders of transformers, files of torchvision."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.support.small_sam2 import filled

NAMES = {0: "cell", 1: "debris", 2: "vessel", 3: "tissue"}
LABELS = {"id2label": NAMES, "label2id": {name: i for i, name in NAMES.items()}}


def _save(network: Any, folder: Path) -> None:
    """Save a network whose weights are so large that its results differ from place to place."""
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.ndim > 1 and "position" not in name:
                weights.mul_(4)
            if "class" in name and weights.shape == (len(NAMES) + 1,):
                # No query says that there is nothing.
                weights[-1] = -30
    network.save_pretrained(folder)


def _swin() -> Any:
    return tf.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


def mask2former(folder: Path) -> None:
    config = tf.Mask2FormerConfig(
        backbone_config=_swin(), feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        dim_feedforward=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=8,
        train_num_points=16, **LABELS,
    )  # fmt: skip
    _save(tf.Mask2FormerForUniversalSegmentation(config), folder)
    tf.Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}, size_divisor=32).save_pretrained(
        folder
    )


def maskformer(folder: Path) -> None:
    swin = tf.MaskFormerSwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    decoder = tf.DetrConfig(
        d_model=32, decoder_layers=1, encoder_layers=1, decoder_ffn_dim=32, encoder_ffn_dim=32,
        decoder_attention_heads=2, encoder_attention_heads=2, num_queries=8,
    )  # fmt: skip
    config = tf.MaskFormerConfig(
        fpn_feature_size=32, mask_feature_size=32, backbone_config=swin, decoder_config=decoder, **LABELS
    )
    _save(tf.MaskFormerForInstanceSegmentation(config), folder)
    tf.MaskFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}, size_divisor=32).save_pretrained(folder)


def clip_tokenizer(folder: Path) -> None:
    """Write a tokenizer of single letters in CLIP's files."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = tf.CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    tokenizer.save_pretrained(folder)


VOCABULARY = 514


def oneformer(folder: Path) -> None:
    config = tf.OneFormerConfig(
        backbone_config=_swin(), num_queries=8, conv_dim=32, mask_dim=32, hidden_dim=32, encoder_feedforward_dim=32,
        dim_feedforward=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, train_num_points=16,
        task_seq_len=77, text_encoder_width=32, text_encoder_num_layers=1, text_encoder_vocab_size=VOCABULARY,
        text_encoder_context_length=77, text_encoder_proj_layers=1, text_encoder_n_ctx=4, query_dec_layers=1, **LABELS,
    )  # fmt: skip
    _save(tf.OneFormerForUniversalSegmentation(config), folder)
    clip_tokenizer(folder)
    images = tf.OneFormerImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96}, class_info_file=None, num_text=4
    )
    images.class_info_file = "ade20k_panoptic.json"
    images.save_pretrained(folder)


def eomt(folder: Path) -> None:
    config = tf.EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8, num_blocks=1,
        num_queries=8, num_upscale_blocks=1, num_register_tokens=1, **LABELS,
    )  # fmt: skip
    _save(tf.EomtForUniversalSegmentation(config), folder)
    tf.EomtImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True, do_split_image=False
    ).save_pretrained(folder)


def eomt_dinov3(folder: Path) -> None:
    config = tf.EomtDinov3Config(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8,
        num_blocks=1, num_queries=8, num_upscale_blocks=1, num_register_tokens=1, **LABELS,
    )  # fmt: skip
    _save(tf.EomtDinov3ForUniversalSegmentation(config), folder)
    tf.EomtImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True, do_split_image=False
    ).save_pretrained(folder)


def _resnet() -> Any:
    return tf.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


def detr(folder: Path) -> None:
    config = tf.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=_resnet(), backbone=None, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=8,
        decoder_attention_heads=8, num_queries=8, **LABELS,
    )  # fmt: skip
    _save(tf.DetrForSegmentation(config), folder)
    tf.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def conditional_detr(folder: Path) -> None:
    config = tf.ConditionalDetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=_resnet(), backbone=None, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=8,
        decoder_attention_heads=8, num_queries=8, **LABELS,
    )  # fmt: skip
    _save(tf.ConditionalDetrForSegmentation(config), folder)
    tf.ConditionalDetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def segformer(folder: Path) -> None:
    config = tf.SegformerConfig(
        hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        **LABELS,
    )  # fmt: skip
    _save(tf.SegformerForSemanticSegmentation(config), folder)
    tf.SegformerImageProcessor(size={"height": 64, "width": 64}, do_reduce_labels=True).save_pretrained(folder)


def upernet(folder: Path) -> None:
    config = tf.UperNetConfig(
        backbone_config=_swin(), hidden_size=16, pool_scales=[1, 2], auxiliary_channels=8, auxiliary_in_channels=64,
        use_auxiliary_head=True, **LABELS,
    )  # fmt: skip
    _save(tf.UperNetForSemanticSegmentation(config), folder)
    tf.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def beit(folder: Path) -> None:
    config = tf.BeitConfig(
        image_size=64, patch_size=16, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        out_indices=[1, 2, 3, 4], use_relative_position_bias=True, pool_scales=[1, 2], auxiliary_channels=8, **LABELS,
    )  # fmt: skip
    _save(tf.BeitForSemanticSegmentation(config), folder)
    tf.BeitImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False).save_pretrained(folder)


def dpt(folder: Path) -> None:
    config = tf.DPTConfig(
        image_size=64, patch_size=16, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8,
        auxiliary_loss_weight=0.4, is_hybrid=False, **LABELS,
    )  # fmt: skip
    _save(tf.DPTForSemanticSegmentation(config), folder)
    tf.DPTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def mobilevit(folder: Path) -> None:
    config = tf.MobileViTConfig(
        image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], num_attention_heads=2,
        aspp_out_channels=16, atrous_rates=[1, 2, 3], **LABELS,
    )  # fmt: skip
    _save(tf.MobileViTForSemanticSegmentation(config), folder)
    tf.MobileViTImageProcessor(size={"shortest_edge": 64}, do_center_crop=False).save_pretrained(folder)


def mobilenet(folder: Path) -> None:
    config = tf.MobileNetV2Config(image_size=64, depth_multiplier=0.35, depth_divisible_by=8, **LABELS)
    _save(tf.MobileNetV2ForSemanticSegmentation(config), folder)
    tf.MobileNetV2ImageProcessor(size={"shortest_edge": 64}, do_center_crop=False).save_pretrained(folder)


def rf_detr(folder: Path) -> None:
    backbone = tf.RfDetrDinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=64, patch_size=16, num_windows=1,
        out_indices=[2, 4],
    )  # fmt: skip
    config = tf.RfDetrConfig(
        backbone_config=backbone, d_model=32, decoder_layers=1, decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2, decoder_n_points=2, decoder_ffn_dim=32, num_queries=8, **LABELS,
    )  # fmt: skip
    _save(tf.RfDetrForInstanceSegmentation(config), folder)
    tf.RfDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def _clip_parts() -> dict[str, Any]:
    text = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": VOCABULARY, "eos_token_id": VOCABULARY - 1, "bos_token_id": VOCABULARY - 2, "projection_dim": 32,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64,
        "patch_size": 16, "projection_dim": 32,
    }  # fmt: skip
    return {"text_config": text, "vision_config": vision, "projection_dim": 32}


def clipseg(folder: Path) -> None:
    config = tf.CLIPSegConfig(
        **_clip_parts(), extract_layers=[0, 1, 2], reduce_dim=16, decoder_num_attention_heads=2,
        decoder_intermediate_size=32, conditional_layer=0,
    )  # fmt: skip
    _save(tf.CLIPSegForImageSegmentation(config), folder)
    clip_tokenizer(folder)
    tf.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def clip(folder: Path) -> None:
    _save(tf.CLIPModel(tf.CLIPConfig(**_clip_parts())), folder)
    clip_tokenizer(folder)
    tf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}).save_pretrained(folder)


def siglip(folder: Path) -> None:
    parts = _clip_parts()
    _save(
        tf.SiglipModel(tf.SiglipConfig(text_config=parts["text_config"], vision_config=parts["vision_config"])), folder
    )
    clip_tokenizer(folder)
    tf.SiglipImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def _sam3_detector(wide: int = 32) -> Any:
    vit = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 112, "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }  # fmt: skip
    text = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "projection_dim": 32, "bos_token_id": VOCABULARY - 2,
        "eos_token_id": VOCABULARY - 1,
    }  # fmt: skip
    vision = {"backbone_config": vit, "fpn_hidden_size": wide, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]}
    part = {"hidden_size": wide, "num_attention_heads": 2, "intermediate_size": 64, "num_layers": 1}
    return tf.Sam3Config(
        vision_config=vision, text_config=text, geometry_encoder_config=part, detr_encoder_config=part,
        detr_decoder_config={**part, "num_queries": 8},
        mask_decoder_config={"hidden_size": wide, "num_attention_heads": 2},
    )  # fmt: skip


def _sam3_files(folder: Path) -> None:
    clip_tokenizer(folder)
    tf.Sam3ImageProcessor(size={"height": 112, "width": 112}).save_pretrained(folder)


def sam3(folder: Path) -> None:
    _save(tf.Sam3Model(_sam3_detector()), folder)
    _sam3_files(folder)


def sam3_video(folder: Path) -> None:
    """Write a folder as it is published: detector and tracker with one encoder."""
    wide = 128  # more than the 64 channels of a memory, as in the published one
    detector = _sam3_detector(wide).to_dict()
    tracker = {
        "vision_config": detector["vision_config"], "image_size": 112,
        "prompt_encoder_config": {"hidden_size": wide, "image_size": 112},
        "mask_decoder_config": {
            "hidden_size": wide, "mlp_dim": 24, "iou_head_hidden_dim": wide, "num_attention_heads": 4,
        },
        "memory_attention_hidden_size": wide, "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": wide, "memory_encoder_hidden_size": wide,
        "memory_fuser_embed_dim": wide, "memory_fuser_intermediate_dim": wide, "mask_downsampler_embed_dim": wide,
    }  # fmt: skip
    network = tf.Sam3VideoModel(tf.Sam3VideoConfig(detector_config=detector, tracker_config=tracker))
    tensors = network.tracker_model.state_dict()
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    values = filled({key.replace("proj_out", "layers.2"): shape for key, shape in shapes.items()})
    network.tracker_model.load_state_dict({key: values[key.replace("proj_out", "layers.2")] for key in shapes})
    _save(network, folder)
    _sam3_files(folder)


def _save_detector(network: Any, folder: Path, *heads: str) -> None:
    """Save a network whose boxes differ; larger weights elsewhere would saturate the scores."""
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.ndim > 1 and any(head in name for head in heads):
                weights.normal_(0, 0.3)
    network.save_pretrained(folder)


def bert_tokenizer(folder: Path) -> int:
    """Write a tokenizer of letters and a few words in BERT's files; return how many tokens it knows."""
    letters = [*string.ascii_lowercase, *string.digits]
    signs = [c for c in string.printable if not c.isspace() and c.lower() not in letters]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *letters, *(f"##{c}" for c in letters)]
    words += ["cell", "cells", "nucleus", "small", "two"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tf.BertTokenizer.from_pretrained(folder, model_max_length=256).save_pretrained(folder)
    return len(words)


def grounding_dino(folder: Path, kind: str = "GroundingDino") -> None:
    text = tf.BertConfig(
        vocab_size=bert_tokenizer(folder), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    swin = tf.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = getattr(tf, f"{kind}Config")(
        backbone_config=swin, text_config=text, d_model=64, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, encoder_attention_heads=2, decoder_attention_heads=2, num_queries=12, max_text_len=32,
    )  # fmt: skip
    _save_detector(getattr(tf, f"{kind}ForObjectDetection")(config), folder, "bbox_embed")
    tf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def mm_grounding_dino(folder: Path) -> None:
    grounding_dino(folder, "MMGroundingDino")


def owl(folder: Path, kind: str = "Owlv2") -> None:
    parts = _clip_parts()
    text = {**parts["text_config"], "max_position_embeddings": 77}
    vision = {**parts["vision_config"], "image_size": 96}
    config = getattr(tf, f"{kind}Config")(text_config=text, vision_config=vision, projection_dim=32)
    _save_detector(getattr(tf, f"{kind}ForObjectDetection")(config), folder, "box_head", "class_head")
    clip_tokenizer(folder)
    getattr(tf, f"{kind}ImageProcessor")(size={"height": 96, "width": 96}).save_pretrained(folder)


def owlvit(folder: Path) -> None:
    owl(folder, "OwlViT")


def omdet_turbo(folder: Path) -> None:
    text = tf.CLIPTextConfig(**{**_clip_parts()["text_config"], "hidden_size": 64})
    swin = tf.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = tf.OmDetTurboConfig(
        text_config=text, backbone_config=swin, image_size=64, text_projection_in_dim=64, text_projection_out_dim=64,
        task_encoder_hidden_dim=32, class_embed_dim=64, num_queries=12, encoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32], encoder_in_channels=[32, 64, 128], encoder_attention_heads=2,
        encoder_dim_feedforward=32, encoder_layers=1, decoder_hidden_dim=32, decoder_num_heads=2,
        decoder_num_layers=2, decoder_dim_feedforward=32, apply_layernorm_after_vision_backbone=False,
    )  # fmt: skip
    _save_detector(tf.OmDetTurboForObjectDetection(config), folder, "bbox")
    clip_tokenizer(folder)
    tf.DetrImageProcessor(size={"height": 64, "width": 64}, do_pad=False).save_pretrained(folder)


LANGUAGE: dict[str, Callable[[Path], None]] = {
    "GroundingDinoForObjectDetection": grounding_dino,
    "MMGroundingDinoForObjectDetection": mm_grounding_dino,
    "Owlv2ForObjectDetection": owl,
    "OwlViTForObjectDetection": owlvit,
    "OmDetTurboForObjectDetection": omdet_turbo,
    "Sam3Model": sam3,
    "Sam3VideoModel": sam3_video,
    "CLIPSegForImageSegmentation": clipseg,
    "CLIPModel": clip,
    "SiglipModel": siglip,
}
#: Writers of a folder for each class of transformers.
FOLDERS: dict[str, Callable[[Path], None]] = {
    "Mask2FormerForUniversalSegmentation": mask2former,
    "MaskFormerForInstanceSegmentation": maskformer,
    "OneFormerForUniversalSegmentation": oneformer,
    "EomtForUniversalSegmentation": eomt,
    "EomtDinov3ForUniversalSegmentation": eomt_dinov3,
    "DetrForSegmentation": detr,
    "ConditionalDetrForSegmentation": conditional_detr,
    "SegformerForSemanticSegmentation": segformer,
    "UperNetForSemanticSegmentation": upernet,
    "BeitForSemanticSegmentation": beit,
    "DPTForSemanticSegmentation": dpt,
    "MobileViTForSemanticSegmentation": mobilevit,
    "MobileNetV2ForSemanticSegmentation": mobilenet,
    "RfDetrForInstanceSegmentation": rf_detr,
}


def write(architecture: str, folder: Path, seed: int = 0) -> Path:
    """Write a folder of a class of transformers, with weights that make differing classes likely."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (FOLDERS | LANGUAGE)[architecture](folder)
    return folder
