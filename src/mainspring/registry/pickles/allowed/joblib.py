"""joblib's wrapper around the arrays that follow it in the file."""

from __future__ import annotations

CLASSES = {"joblib.numpy_pickle": "NumpyArrayWrapper"}
