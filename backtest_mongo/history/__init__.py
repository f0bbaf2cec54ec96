"""The past: versions of rows by simulation time, and views of everything as it was."""
