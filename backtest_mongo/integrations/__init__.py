"""Other people's packages on this store, a module each. None of them is imported before its module is."""
