"""Found on PYTHONPATH by the engine's process in the tests: it gets tasks that misbehave on demand."""

from tests.support import fake_tasks

fake_tasks.register()
