"""What more than one test of this folder starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.clusters import RayCluster
from tests.ports import own_ports

from mainspring.testing.s3 import KEYS


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[RayCluster]:
    """One cluster of Ray for all tests of it: it takes half a minute of a processor to come up and to go."""
    (port,) = own_ports(1)
    made = RayCluster(port, env=KEYS)
    yield made
    made.close()


@pytest.fixture
def cluster(ray_nodes: RayCluster) -> RayCluster:
    """The cluster with its three nodes, whatever a test before this one killed."""
    ray_nodes.fill_up()
    return ray_nodes
