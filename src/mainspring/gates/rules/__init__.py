"""The statistics of the gates: pure functions of numbers, without files, clocks or randomness of their own."""
