import napari_foundseg as fs
from napari_foundseg.api import run
from napari_foundseg.core.normalisation import Percentile

image = fs.Image(viewer.layers['cells'].data, axes='YX', normalisation=Percentile(kind='percentile', low=1.0, high=99.5))
seg = run(
    'prompt',
    image,
    {'prompts': [fs.Prompt(points=[[40.1, 60.0]], labels=[1]), fs.Prompt(box=[9.0, 9.0, 60.0, 60.0])]},
    model='foundseg-tiny',
    method='sam',
    output='auto',
    tile=True,
)
