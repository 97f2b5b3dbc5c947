"""PyTorch, as far as it can be watched: optimizers, schedulers, and the tensors that `backward()` is called on."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from mainspring.sdk.autologging import patches
from mainspring.sdk.autologging.fits import Fit, guarded, options
from mainspring.sdk.run import ActiveRun, current

EVERY_ON_DEVICE = 50
_LOSS, _RATE = "autolog/loss", "autolog/lr"


class _Watched:
    """What was seen in one run."""

    def __init__(self) -> None:
        self.optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.rates: dict[str, float] = {}
        self.backwards = 0
        self.steps = 0


_runs: weakref.WeakKeyDictionary[ActiveRun, _Watched] = weakref.WeakKeyDictionary()
_schedulers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def watch() -> None:
    """Log steps of optimizers and calls of `backward`, inside of runs."""
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import register_optimizer_step_post_hook

    patches.on_undo(register_optimizer_step_post_hook(_stepped).remove)
    patches.replace(torch.Tensor, "backward", _backward)
    patches.replace(LRScheduler, "__init__", _scheduled)


def _backward(original: Any, args: Any, kwargs: Any) -> Any:
    done = original(*args, **kwargs)
    run = current()
    if run is not None and run.is_open and options() is not None:
        with guarded("a loss"):
            seen = _runs.setdefault(run, _Watched())
            step, seen.backwards = seen.backwards, seen.backwards + 1
            loss = args[0]
            if loss.numel() == 1 and (loss.device.type == "cpu" or step % EVERY_ON_DEVICE == 0):
                run.log({_LOSS: loss.detach().item()}, step=step)
    return done


def _stepped(optimizer: Any, args: Any, kwargs: Any) -> None:
    run = current()
    if run is None or not run.is_open or options() is None:
        return
    with guarded("a step of an optimizer"):
        seen = _runs.setdefault(run, _Watched())
        if optimizer not in seen.optimizers:
            seen.optimizers.add(optimizer)
            _describe(run, optimizer, len(seen.optimizers) - 1)
        order = list(seen.optimizers).index(optimizer) if len(seen.optimizers) > 1 else 0
        for i, group in enumerate(optimizer.param_groups):
            key = _RATE + (f"/{order}" if order else "") + (f"/group {i}" if i else "")
            rate = float(group["lr"])
            if seen.rates.get(key) != rate:
                seen.rates[key] = rate
                run.log({key: rate}, step=seen.steps)
        seen.steps += 1


def _scheduled(original: Any, args: Any, kwargs: Any) -> Any:
    done = original(*args, **kwargs)
    with guarded("a scheduler"):
        scheduler, optimizer = args[0], kwargs.get("optimizer", args[1] if len(args) > 1 else None)
        if optimizer is not None:
            _schedulers[optimizer] = weakref.ref(scheduler)
    return done


def _describe(run: ActiveRun, optimizer: Any, order: int) -> None:
    """What an optimizer and its scheduler were given, as params: `optimizer`, `optimizer.lr`, `optimizer 1.lr`."""
    chosen = options()
    assert chosen is not None
    stem = f" {order}" if order else ""
    count = sum(entry.numel() for group in optimizer.param_groups for entry in group["params"])
    params = {f"optimizer{stem}": type(optimizer).__name__, f"optimizer{stem}.parameters": count}
    params |= {f"optimizer{stem}.{name}": value for name, value in _scalars(optimizer.defaults).items()}
    scheduler = _schedulers.get(optimizer, lambda: None)()
    if scheduler is not None:
        params[f"scheduler{stem}"] = type(scheduler).__name__
        params |= {f"scheduler{stem}.{name}": value for name, value in _scalars(vars(scheduler)).items()}
    Fit("torch", run, own=False, options=chosen).params(params)


def _scalars(values: Mapping[str, object]) -> dict[str, object]:
    kinds = (bool, int, float, str, tuple, list)
    return {name: value for name, value in values.items() if isinstance(value, kinds) and not name.startswith("_")}
