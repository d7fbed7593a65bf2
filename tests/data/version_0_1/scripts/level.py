import napari_foundseg as fs
from napari_foundseg.api import run
from napari_foundseg.core.levels import Level

image = fs.Image(viewer.layers['cells'].data, axes='YX')
level = Level(image, 1)
seg = run(
    'automatic',
    level.image,
    {},
    model='foundseg-tiny',
    method='decoder',
    foreground_threshold=0.7,
    centre_threshold=0.7,
    boundary_threshold=0.45,
    seed_smoothing=0.625,
    pred_iou_thresh=0.3,
    min_area=5,
    diameter=None,
    diameter_unit='pixels',
    tile=True,
)
seg = level.result(seg)
