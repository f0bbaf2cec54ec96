"""Moving rows between MongoDB, SQLite files and dumps, directories of files in the layout of Node's default storage."""
