"""Parts of the tasks that give pixels or objects a class."""
