"""The MLflow protocol: an unmodified `mlflow` client works against this server.

This package only translates. `wire.py` reads and writes messages, `errors.py` names errors as clients of MLflow know
them, `calls.py` says what a call is, and each part of the protocol is a file with a list `calls`; the verbs live in the
rooms. Every call is served under `/api/2.0/mlflow`; `spelling.py` lists the other addresses it answers at.
"""
