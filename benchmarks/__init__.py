"""What this library costs beside the bare driver, on the same servers in the same run: ``nox -s bench``."""
