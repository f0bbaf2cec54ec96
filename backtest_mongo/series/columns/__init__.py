"""Series with columns in MongoDB: a tail of groups of rows, and blocks."""
