"""Found on PYTHONPATH by the other processes of a test: the engine and the command line know the toy task too."""

from napari_foundseg.tasks import register_task
from tests.support import toy_task

register_task(toy_task.TASK)
