import napari_foundseg as fs
from napari_foundseg.api import run

image = fs.Image(viewer.layers['cells'].data, axes='YX')
seg = run(
    'cluster',
    image,
    {'edits': ({'kind': 'merge', 'clusters': (1, 2), 'name': None, 'colour': None},), 'only': ()},
    model='foundseg-tiny',
    crf=False,
    flip=False,
    output='clusters',
    min_area=0,
    refine_model='',
    method='kmeans',
    n_clusters=3,
    context=0,
    seed=0,
)
