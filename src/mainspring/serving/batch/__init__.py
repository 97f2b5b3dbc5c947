"""Batch predictions: a table in, a table out, by the code that answers online.

Rows are scored in chunks, each written whole or not at all, so that a batch that was killed goes on where it was when
the same command is given again. Rows that can't be scored are put aside, each with its reasons.
"""
