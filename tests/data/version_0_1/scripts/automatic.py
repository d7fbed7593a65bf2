import napari_foundseg as fs
from napari_foundseg.api import run

image = fs.Image(viewer.layers['cells'].data, axes='YX')
seg = run(
    'automatic',
    image,
    {},
    model='foundseg-tiny',
    method='decoder',
    foreground_threshold=0.7,
    centre_threshold=0.7,
    boundary_threshold=0.45,
    seed_smoothing=1.25,
    pred_iou_thresh=0.3,
    min_area=20,
    diameter=None,
    diameter_unit='pixels',
    tile=True,
)
