"""The protocols of the model server, one file for each: bytes to typed columns, and answers to bytes."""
