"""Networks in the layout of OpenMMLab's mmsegmentation: backbones, necks and heads, made of the shapes of tensors."""
