import napari_foundseg as fs
from napari_foundseg.api import run
from napari_foundseg.core.normalisation import CTWindow

image = fs.Image(viewer.layers['cells'].data, axes='YX', normalisation=CTWindow(kind='ct', level=100.0, width=180.0))
seg = run(
    'automatic',
    image,
    {},
    model='foundseg-tiny',
    method='grid',
    mode='exact',
    points_per_side=6,
    pred_iou_thresh=0.5,
    stability_score_thresh=0.7,
    min_area=20,
    max_area=None,
    nesting='best score',
    box_nms_thresh=0.7,
    stability_score_offset=1.0,
    points_per_batch=64,
    tile=True,
)
