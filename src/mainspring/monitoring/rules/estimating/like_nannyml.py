"""The numbers of NannyML 0.13.1 for two classes and for more, for people who move over; never its alarms.

Source: NannyML's documentation of confidence-based performance estimation; the numbers are held against its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mainspring.monitoring.rules.measuring import Floats

MEASURES = ("roc_auc", "f1", "precision", "recall", "specificity", "accuracy", "average_precision")
_BINS, _SPLITS, _SEED, _TEST = 10, 10, 42, 0.1
_PERFECT = 0.999
Places = NDArray[np.int64]


class _Curve(Protocol):
    def predict(self, scores: Floats) -> Floats: ...


class LikeNannyML:
    """Estimates and realized values of windows.

    Args:
        scores: Probabilities of class 1 of the reference, shape (rows,).
        truth: 0 or 1 of the same rows.
    """

    def __init__(self, scores: Floats, truth: Floats) -> None:
        self._curve = _curve(scores, truth)

    def estimated(self, scores: Floats, said: Floats) -> dict[str, float]:
        """What it estimates for a window.

        Args:
            scores: Probabilities of class 1, shape (rows,).
            said: The class that was answered, 0 or 1.
        """
        p = _read(self._curve, scores)
        tp, fp = float(p[said == 1].sum()), float((1 - p)[said == 1].sum())
        fn, tn = float(p[said == 0].sum()), float((1 - p)[said == 0].sum())
        return {**_shares(tp, fp, fn, tn), "roc_auc": _area(p, scores), "average_precision": _average(p, scores)}

    @staticmethod
    def realized(scores: Floats, said: Floats, truth: Floats) -> dict[str, float]:
        """What labels show for a window; not a number where they do not define a measure."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        tp, fp = float((said * truth).sum()), float((said * (1 - truth)).sum())
        fn, tn = float(((1 - said) * truth).sum()), float(((1 - said) * (1 - truth)).sum())
        both = 0 < truth.sum() < len(truth)
        area = float(roc_auc_score(truth, scores)) if both else np.nan
        average = float(average_precision_score(truth, scores)) if truth.sum() else np.nan
        return {**_shares(tp, fp, fn, tn), "roc_auc": area, "average_precision": average}


class LikeNannyMLOfClasses:
    """The same for three or more classes: each against the rest, and the mean over them.

    Args:
        scores: Probabilities of the reference, shape (rows, classes), the classes in alphabetical order.
        truth: The place of the class of each row, shape (rows,).
    """

    def __init__(self, scores: Floats, truth: Places) -> None:
        self._classes = scores.shape[1]
        self._curves = [_curve(scores[:, at], (truth == at).astype(np.float64)) for at in range(self._classes)]

    def estimated(self, scores: Floats, said: Places) -> dict[str, float]:
        """What it estimates for a window; a class that defines no share counts as 0, as it does there.

        Args:
            scores: Probabilities, shape (rows, classes).
            said: The place of the class that was answered, shape (rows,).
        """
        p = self._calibrated(scores)
        each = [self._against_rest(p[:, at], said == at) for at in range(self._classes)]
        found = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        found["accuracy"] = float(p[np.arange(len(p)), said].mean())
        for name, estimate in (("roc_auc", _area), ("average_precision", _average)):
            found[name] = float(np.mean([estimate(p[:, at], scores[:, at]) for at in range(self._classes)]))
        return found

    def confusion(self, scores: Floats, said: Places) -> Floats:
        """The rows it estimates to be of each class and to have been answered each, shape (classes, classes)."""
        p = self._calibrated(scores)
        return np.stack([p[said == at].sum(axis=0) for at in range(self._classes)], axis=1)

    def realized(self, scores: Floats, said: Places, truth: Places) -> dict[str, float]:
        """What labels show for a window; not a number where they do not define a measure."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        places = range(self._classes)
        if len(np.unique(truth)) < 2:
            return dict.fromkeys(MEASURES, float("nan"))
        each = [self._against_rest((truth == at).astype(np.float64), said == at) for at in places]
        found = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        found["accuracy"] = float((said == truth).mean())
        if len(np.unique(said)) < 2:
            found = dict.fromkeys(found, float("nan"))
        whole = len(np.unique(truth)) == self._classes
        for name, score in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            areas = [float(score(truth == at, scores[:, at])) for at in places] if whole else [float("nan")]
            found[name] = float(np.mean(areas))
        return found

    def _calibrated(self, scores: Floats) -> Floats:
        p = np.column_stack(
            [_read(curve, scores[:, at]) for at, curve in enumerate(self._curves)],
        )
        total = p.sum(axis=1, keepdims=True)
        found: Floats = np.divide(p, total, out=np.full_like(p, 1 / self._classes), where=total != 0)
        return found

    @staticmethod
    def _against_rest(p: Floats, said: NDArray[np.bool_]) -> dict[str, float]:
        tp, fn = float(p[said].sum()), float(p[~said].sum())
        fp, tn = float((1 - p)[said].sum()), float((1 - p)[~said].sum())
        return {name: 0.0 if np.isnan(share) else share for name, share in _shares(tp, fp, fn, tn).items()}


def _shares(tp: float, fp: float, fn: float, tn: float) -> dict[str, float]:
    def share(part: float, whole: float) -> float:
        return part / whole if whole else float("nan")

    return {
        "f1": share(tp, tp + 0.5 * (fp + fn)),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "specificity": share(tn, tn + fp),
        "accuracy": share(tp + tn, tp + fp + fn + tn),
    }


def _curve(scores: Floats, truth: Floats) -> _Curve | None:
    return _fitted(scores, truth) if _calibration_helps(scores, truth) else None


def _read(curve: _Curve | None, scores: Floats) -> Floats:
    return scores if curve is None else curve.predict(scores)


def _fitted(scores: Floats, truth: Floats) -> _Curve:
    from sklearn.isotonic import IsotonicRegression

    curve: _Curve = IsotonicRegression(out_of_bounds="clip").fit(scores, truth)
    return curve


def _calibration_helps(scores: Floats, truth: Floats) -> bool:
    """Whether the expected calibration error on held-out rows, all splits pooled, falls by an isotonic curve."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedShuffleSplit

    if len(np.unique(truth)) < 2 or roc_auc_score(truth, scores) > _PERFECT:
        return False
    splits = StratifiedShuffleSplit(n_splits=_SPLITS, test_size=_TEST, random_state=_SEED)
    held = [
        (test, _fitted(scores[train], truth[train]).predict(scores[test]))
        for train, test in splits.split(scores, truth)
    ]
    rows = np.concatenate([test for test, _ in held])
    return _ece(truth[rows], scores[rows]) > _ece(truth[rows], np.concatenate([p for _, p in held]))


def _ece(truth: Floats, p: Floats) -> float:
    """Over bins of equal numbers of rows; those that are over at the end join the last one."""
    order = p.argsort()
    p, truth = p[order], truth[order]
    edges = np.arange(0, len(p) + 1, len(p) // _BINS)
    edges[-1] = len(p)
    sums = [
        abs(float(p[low:high].mean() - truth[low:high].mean())) * (high - low) for low, high in pairwise(edges.tolist())
    ]
    return sum(sums) / len(p)


def _descending(scores: Floats) -> NDArray[np.intp]:
    order: NDArray[np.intp] = np.argsort(scores)[::-1]
    return order


def _area(p: Floats, scores: Floats) -> float:
    """The area under the expected curve, by the order of the raw scores, row by row."""
    right = p[_descending(scores)]
    tps, fps = (np.round(np.concatenate(([0.0], part.cumsum())), 5) for part in (right, 1 - right))
    if not tps[-1] or not fps[-1]:
        return float("nan")
    return float(np.trapezoid(tps / tps[-1], fps / fps[-1]))


def _average(p: Floats, scores: Floats) -> float:
    right = p[_descending(scores)].cumsum()
    if not right[-1]:
        return float("nan")
    precision, recall = right / np.arange(1, len(p) + 1), right / right[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())
