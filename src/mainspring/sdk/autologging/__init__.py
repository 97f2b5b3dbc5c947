"""Automatic logging: what the fits of scikit-learn, LightGBM, XGBoost and PyTorch were given, did and made.

It watches libraries that are loaded, now or later, and imports none. Whatever goes wrong in here is one warning in the
log `mainspring.sdk`; the training goes on as if nothing watched, and gives the same model.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainspring.core.errors import Invalid, did_you_mean
from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.fits import Options, choose

LIBRARIES = {
    "lightgbm": "mainspring.sdk.autologging.lightgbm",
    "sklearn": "mainspring.sdk.autologging.sklearn",
    "torch": "mainspring.sdk.autologging.torch",
    "xgboost": "mainspring.sdk.autologging.xgboost",
}


def autolog(
    on: bool = True,
    *,
    libraries: Sequence[str] = tuple(LIBRARIES),
    experiment: str = "",
    models: bool = True,
    children: int = 10,
) -> None:
    """Log every fit from now on, or with `autolog(False)` none any more.

    A fit outside of a run starts one of its own; the first fit inside of a `mainspring.run` block is logged into that
    run, each further one into a child of it. Fits inside of fits (the steps of a pipeline, the candidates of a search)
    are part of the outer one. Recorded are params, metrics of every iteration, training scores (on at most 10,000
    rows), duration, a summary and digest of the data, and the model in its safe format with signature and example. A
    search also keeps its results as a table, and its best candidates as child runs.

    PyTorch has no fit that could be watched. Inside of a `mainspring.run` block its optimizers and schedulers become
    params, and the learning rate and the value of every tensor that `backward()` is called on become the metrics
    `autolog/lr` and `autolog/loss`, counted by calls; on an accelerator every 50th, as reading one waits for it. Two
    losses in one program are one curve, and the model is not kept, as nothing says when it is done: log what you know.

    Args:
        on: Whether to log.
        libraries: Which ones: "sklearn", "lightgbm", "xgboost", "torch".
        experiment: Of runs that a fit starts; "" = the default one.
        models: Keep the model files.
        children: Most child runs of one search.
    Raises:
        Invalid: An unknown library, a negative count, or a name where True or False belongs.

    Example:
        >>> import mainspring
        >>> mainspring.autolog()
        >>> from sklearn.linear_model import LogisticRegression
        >>> model = LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])  # this is a run now
        >>> mainspring.autolog(False)
    """
    asked = next((given for given in (on, libraries) if isinstance(given, str)), None)
    if asked is not None:
        raise Invalid(
            f"{asked!r} is a text alone", where="autolog", hint=f"write mainspring.autolog(libraries=[{asked!r}])"
        )
    for name in libraries:
        if name not in LIBRARIES:
            hint = did_you_mean(name, LIBRARIES) or "known are " + ", ".join(LIBRARIES)
            raise Invalid(f"no library {name!r} is watched", where="libraries", hint=hint)
    if children < 0:
        raise Invalid(f"{children} children asked for", where="children", hint="use 0 or more")
    patches.undo()
    choose(Options(experiment, models, children) if on else None)
    if on:
        for name in libraries:
            patches.when_loaded(name, LIBRARIES[name])
