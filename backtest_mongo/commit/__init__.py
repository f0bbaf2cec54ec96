"""Transactions and leases: many writes in one commit, and one owner of a context."""
