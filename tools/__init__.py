"""Tools of this repository: what they write is committed, and checked by the tests."""
