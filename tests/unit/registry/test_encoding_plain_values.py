from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from mainspring.registry.encoding import Encoder
from mainspring.registry.model import Field

FIELDS = (Field("x", "float64"), Field("n", "int64"), Field("ok", "bool"), Field("c", "string", ("a", "b")))
TYPES = {"x": pl.Float64, "n": pl.Int64, "ok": pl.Boolean, "c": pl.String}
ROW = st.tuples(
    st.none() | st.floats(allow_nan=False),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.sampled_from(["a", "b", "unseen", ""]),
)


@given(st.lists(ROW, min_size=1, max_size=20))
def test_plain_values_are_encoded_as_a_frame_of_them_is(rows: list[tuple[object, ...]]) -> None:
    encoder = Encoder(FIELDS)
    columns = [list(values) for values in zip(*rows, strict=True)]
    frame = pl.DataFrame(dict(zip(TYPES, columns, strict=True)), schema=TYPES)
    np.testing.assert_array_equal(encoder.matrix_of(columns), encoder.matrix(frame))
