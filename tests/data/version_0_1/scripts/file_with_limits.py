import napari_foundseg as fs
from napari_foundseg.api import run
from napari_foundseg.io import read_image
from napari_foundseg.core.normalisation import Limits

image = fs.Image(read_image('cells.tif').data, axes='YX', normalisation=Limits(kind='limits', low=10.0, high=200.5))
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
    min_area=3,
    diameter=None,
    diameter_unit='pixels',
    tile=True,
)
