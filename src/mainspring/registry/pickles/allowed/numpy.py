"""NumPy's arrays, types and random generators, under the module names of NumPy 1 and 2; and SciPy's sparse matrices."""

from __future__ import annotations

_SCALARS = (
    "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 longdouble complex64 "
    "complex128 str_ bytes_ datetime64 timedelta64 object_ intc intp uintc uintp longlong ulonglong void"
)
_SPARSE = "csr_matrix csr_array csc_matrix csc_array coo_matrix coo_array"
_GENERATORS = "RandomState Generator"
_BITS = {f"numpy.random._{name.lower()}": name for name in ("MT19937", "PCG64", "Philox", "SFC64")}
_DTYPES = (
    "BoolDType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType UInt32DType UInt64DType Float16DType "
    "Float32DType Float64DType Complex64DType Complex128DType ObjectDType StrDType BytesDType VoidDType "
    "DateTime64DType TimeDelta64DType"
)

CLASSES = {
    "numpy": f"ndarray dtype {_SCALARS}",
    "numpy.ma": "MaskedArray",
    "numpy.ma.core": "MaskedArray",
    **{f"scipy.sparse._{kind[:3]}": f"{kind}_matrix {kind}_array" for kind in ("csr", "csc", "coo")},
    "numpy.random.bit_generator": "SeedSequence",
    "scipy.sparse": _SPARSE,
    "scipy.interpolate._bsplines": "BSpline",
    "scipy.interpolate._interpolate": "interp1d",
}
CALLS = {
    "numpy": "dtype",
    **{f"numpy.{core}.multiarray": "_reconstruct scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric": "_frombuffer" for core in ("core", "_core")},
    "numpy.dtypes": _DTYPES,
    "numpy.ma.core": "_mareconstruct",
    "numpy.random.bit_generator": "__pyx_unpickle_SeedSequence",
    "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
}
NAMES = {
    "numpy": "mean median max min",
    "numpy.random.mtrand": "RandomState",
    "numpy.random._generator": "Generator",
    "numpy.random": _GENERATORS,
    **_BITS,
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
}
