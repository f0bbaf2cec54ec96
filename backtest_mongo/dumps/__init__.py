"""Moving between MongoDB and a dump, a directory of files in the layout of the Node package's default storage."""
