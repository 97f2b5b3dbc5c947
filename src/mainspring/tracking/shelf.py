"""Files of one run as somebody works with them: listed, fetched, kept and deleted, one by one and by the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mainspring.core.errors import Invalid, NotFound
from mainspring.tracking.rules import check_folder, check_path

if TYPE_CHECKING:
    from mainspring.tracking.files import Files
    from mainspring.tracking.model import Artifact


class Shelf(Protocol):
    """Where the files of runs are kept: in this process, or behind a server. Paths are those below the run."""

    def below(self, run_id: str, folder: str) -> Sequence[Artifact]:
        """Every file below a folder, with its path from there; "" is all of them."""
        ...

    def fetch(self, run_id: str, path: str, to: Path) -> None:
        """Write a file of a run to a file of this machine: whole and checked, or not at all."""
        ...

    def keep(self, run_id: str, path: str, content: bytes | Path) -> None:
        """Keep bytes, or a file of this machine, as a file of a run."""
        ...

    def delete(self, run_id: str, path: str) -> int:
        """Delete a file, or a folder with all that is in it. Returns how many files."""
        ...


class LocalShelf:
    """The shelf of the house that is open in this process."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def below(self, run_id: str, folder: str) -> Sequence[Artifact]:
        """See `Shelf.below`."""
        return self._files.below(self._files.run_folder(run_id) + check_folder(folder))

    def fetch(self, run_id: str, path: str, to: Path) -> None:
        """See `Shelf.fetch`."""
        self._files.fetch(self._files.run_folder(run_id) + check_path(path), to)

    def keep(self, run_id: str, path: str, content: bytes | Path) -> None:
        """See `Shelf.keep`."""
        place = self._files.run_folder(run_id) + check_path(path)
        if isinstance(content, Path):
            self._files.put_file(place, content)
        else:
            self._files.put(place, content)

    def delete(self, run_id: str, path: str) -> int:
        """See `Shelf.delete`."""
        return self._files.delete(self._files.run_folder(run_id) + check_path(path))


class RunFiles:
    """The files of one run, whether it goes on or ended.

    Args:
        shelf: Where they are kept.
        run_id: Whose they are.
    """

    def __init__(self, shelf: Shelf, run_id: str) -> None:
        self._shelf = shelf
        self.run_id = run_id.removeprefix("runs/")

    def list(self, folder: str = "") -> Sequence[Artifact]:
        """Every file by its path in the run, or those below one of its folders.

        Raises:
            NotFound: No such run.
        """
        start = check_folder(folder)
        return [replace(entry, path=start + entry.path) for entry in self._shelf.below(self.run_id, folder)]

    def get(self, path: str, to: str | Path = "") -> Path:
        """Fetch a file, or a folder with all that is in it; what is there already with the same content stays.

        Args:
            path: Its path in the run; "" is everything.
            to: The file or folder it becomes; a folder that exists gets a file under its name; "" is the one we are in.
        Returns: Where it is now: the file, or the folder that files were written to.
        Raises:
            NotFound: There is no such file or folder.
            Corrupt: What arrived is not what is kept; nothing is left of it.
        """
        place = Path(to or ".")
        known = self.list(path)
        if not known:
            if not path.rstrip("/"):
                raise NotFound(
                    "the run keeps no files", where=f"runs/{self.run_id}", hint="mainspring runs put adds one"
                )
            return self._fetched(path, place / path.rpartition("/")[2] if place.is_dir() else place)
        start = len(check_folder(path))
        for entry in known:
            # a name that came from elsewhere never leads out of the folder
            self._fetched(entry.path, place / check_path(entry.path[start:]), entry)
        return place

    def read(self, path: str) -> bytes:
        """The whole content of a file.

        Raises:
            NotFound: There is no such file.
        """
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="mainspring-") as folder:
            return self.get(path, Path(folder) / "content").read_bytes()

    def put(self, content: str | Path | bytes, name: str = "") -> Sequence[str]:
        """Keep a file, a folder with all that is in it, or bytes. The same path again replaces what was there.

        Args:
            content: The path of a file or folder, or bytes.
            name: Its path in the run; its own name when absent.
        Returns: The paths of the files.
        Raises:
            NotFound: There is no such file, folder or run.
            Invalid: Bytes without a name, or a name that leaves the run.
            Conflict: A folder of the run has that name.
        """
        where = f"runs/{self.run_id}"
        if isinstance(content, bytes):
            if not name:
                raise Invalid("bytes have no name of their own", where=where, hint='files.put(data, "model.bin")')
            self._shelf.keep(self.run_id, check_path(name), content)
            return [name]
        place = Path(content)
        if not place.exists():
            raise NotFound("there is no such file or folder", where=str(place), hint="give the path of one")
        start = name.rstrip("/") or place.resolve().name
        if place.is_file():
            found = {check_path(start): place}
        else:
            inside = sorted(entry for entry in place.rglob("*") if entry.is_file())
            found = {check_path(f"{start}/{file.relative_to(place).as_posix()}"): file for file in inside}
        for path, file in found.items():
            self._shelf.keep(self.run_id, path, file)
        return list(found)

    def delete(self, path: str) -> int:
        """Delete a file, or a folder with all that is in it; the bytes go when nothing else has them.

        Returns: How many files.
        Raises:
            NotFound: There is no such file or folder.
        """
        gone = self._shelf.delete(self.run_id, check_path(path.rstrip("/")))
        if not gone:
            hint = f"mainspring runs files {self.run_id}"
            raise NotFound(f"there is no file or folder {path[:200]!r}", where=f"runs/{self.run_id}", hint=hint)
        return gone

    def _fetched(self, path: str, to: Path, known: Artifact | None = None) -> Path:
        if known is None or not _is_there(to, known):
            to.parent.mkdir(parents=True, exist_ok=True)
            self._shelf.fetch(self.run_id, path, to)
        return to


def _is_there(place: Path, known: Artifact) -> bool:
    from blake3 import blake3

    if not place.is_file() or place.stat().st_size != known.size_bytes:
        return False
    return blake3().update_mmap(place).hexdigest() == known.digest
