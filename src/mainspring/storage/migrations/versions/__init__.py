"""The steps, in order: 0001, 0002, ..."""
