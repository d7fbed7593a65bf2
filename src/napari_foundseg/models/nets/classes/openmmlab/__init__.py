"""Networks in the layout of OpenMMLab's mmsegmentation: backbones, necks and heads, built from shapes of tensors."""
