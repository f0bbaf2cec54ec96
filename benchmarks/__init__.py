"""What this library costs compared with the bare driver, on the same servers in the same run: ``nox -s bench``."""
