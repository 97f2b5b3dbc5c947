"""The language of searches: texts into trees, and whether a tree makes sense for a kind of thing. Nothing here reads.

Strict mode is MLflow's language. Outside it there are also OR, NOT and parentheses, lists everywhere, dates, and
lengths of time. A comparison of what is missing is false, `!=` too; only IS NULL finds it, and NOT turns it around.
"""

from mainspring.tracking.grammar.checking import read_fields, read_filter, read_order
from mainspring.tracking.grammar.completing import fitting, names_of, place_in, values_for
from mainspring.tracking.grammar.kinds import EVALUATION_SETS, EXPERIMENTS, LOGGED_MODELS, RUNS, TRACES, Kind
from mainspring.tracking.grammar.paging import Mark, Page, fingerprint, mark_of, token_of

__all__ = [
    "EVALUATION_SETS",
    "EXPERIMENTS",
    "LOGGED_MODELS",
    "RUNS",
    "TRACES",
    "Kind",
    "Mark",
    "Page",
    "fingerprint",
    "fitting",
    "mark_of",
    "names_of",
    "place_in",
    "read_fields",
    "read_filter",
    "read_order",
    "token_of",
    "values_for",
]
