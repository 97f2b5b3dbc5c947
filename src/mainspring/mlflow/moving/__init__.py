"""Moving house: everything of an MLflow server or database comes here, and everything of ours goes to an MLflow server.

Both ways are idempotent and can be broken off: what has arrived is not sent again, and what is there at the end is
compared with what was there at the start, by counts and by digests.
"""
