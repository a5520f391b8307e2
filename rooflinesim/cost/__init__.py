"""TIME: operations and a device -> seconds; efficiency laws live here and nowhere else."""
