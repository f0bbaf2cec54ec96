"""Forks: the state of every slot as it was at a simulation time, in a database of its own."""
