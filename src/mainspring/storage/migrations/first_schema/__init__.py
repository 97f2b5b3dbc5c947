"""The parts of step 0001: a module per room."""
