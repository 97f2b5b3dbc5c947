"""What the supervisor says when the model server can't start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mainspring.core.errors import Conflict
from mainspring.serving.modelserver.plan import Plan, write_plan
from mainspring.serving.supervisor import ServerOptions, Supervisor


def test_a_port_that_is_taken_is_named_with_the_flag_for_another(tmp_path: Path) -> None:
    write_plan(tmp_path, Plan(generation=1, endpoints=[], public_key="", durability="process"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        supervisor = Supervisor(tmp_path, ServerOptions(port=port, drain_s=0.0))
        with pytest.raises(Conflict) as refused:
            supervisor.start()
        supervisor.stop()
    what, where, hint = str(refused.value).splitlines()
    assert what == f"port {port} of the model server is taken"
    assert where == f"where: 127.0.0.1:{port}"
    assert hint == f"try: mainspring up --serving-port {port + 2}"
