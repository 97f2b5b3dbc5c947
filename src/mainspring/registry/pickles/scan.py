"""A scan in a process of its own, with limits on time and memory. Whatever goes wrong makes the file unsafe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mainspring.core.errors import Refused
from mainspring.registry.pickles.look import Claim
from mainspring.registry.pickles.report import Finding, Limits, Report

_NO_LIMITS = Limits()


def scan(data: bytes, *, name: str, limits: Limits = _NO_LIMITS) -> Report:
    """Scan bytes that somebody wants to unpickle. Nothing of them is executed or imported.

    Args:
        data: A pickle, or a container of pickles: gzip, xz, bzip2, zlib, zip, tar, joblib, npy, npz, PyTorch.
        name: What the findings call it.
        limits: Where to give up.
    """
    return _scanned([(name, Claim.PICKLE, data)], limits)


def scan_file(path: Path, *, limits: Limits = _NO_LIMITS) -> Report:
    """Scan a file that somebody wants to unpickle."""
    if path.stat().st_size > limits.bytes:
        return Report((Finding(path.name, 0, f"more than {limits.bytes} bytes"),))
    return scan(path.read_bytes(), name=path.name, limits=limits)


def scan_files(files: Sequence[tuple[str, bytes]], *, limits: Limits = _NO_LIMITS) -> Report:
    """Scan the files of a model of which nobody says which are pickles. Source and compiled code is a finding too."""
    return _scanned([(name, Claim.FILE, data) for name, data in files], limits)


def scan_folder(folder: Path, *, limits: Limits = _NO_LIMITS) -> Report:
    """Scan a folder such as that of an MLflow model: every file of it, by `scan_files`. Links are findings."""
    files: list[tuple[str, bytes]] = []
    left = limits.bytes
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return Report((Finding(name, 0, "not a plain file"),))
        if path.is_dir():
            continue
        left -= path.stat().st_size
        if left < 0:
            return Report((Finding(name, 0, f"more than {limits.bytes} bytes in the folder"),))
        files.append((name, path.read_bytes()))
    return scan_files(files, limits=limits)


def require_safe(report: Report, where: str) -> Report:
    """Return the report of a safe scan.

    Raises:
        Refused: It is unsafe, with the first finding.
    """
    if report.findings:
        hint = "register the model in a format that is data, or look at it and grant it by name and version"
        raise Refused(f"the scan of the pickle says unsafe: {report.said()}", where=where, hint=hint)
    return report


def _scanned(parts: Sequence[tuple[str, Claim, bytes]], limits: Limits) -> Report:
    first = parts[0][0] if parts else "the scan"
    listed = [{"name": name, "claim": claim.value, "size": len(data)} for name, claim, data in parts]
    head = json.dumps({"limits": asdict(limits), "parts": listed}).encode() + b"\n"
    command = [sys.executable, "-P", "-m", "mainspring.registry.pickles.child"]
    content = b"".join([head, *(data for _, _, data in parts)])
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=limits.seconds, check=False)
    except subprocess.TimeoutExpired:
        return Report((Finding(first, 0, f"the scan took longer than {limits.seconds:g} seconds"),))
    try:
        said = json.loads(done.stdout)
        findings = tuple(Finding(str(part), int(at), str(reason)) for part, at, reason in said["findings"])
        return Report(findings, tuple(map(str, said["names"])), int(said["pickles"]))
    except (ValueError, KeyError, TypeError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        reason = f"the scan ended with code {done.returncode}: {last[0][:200]}"
        return Report((Finding(first, 0, reason),))
