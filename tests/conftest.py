"""What several rooms of the tests share."""

import logging
import os
import sys

import pytest


@pytest.fixture(scope="session")
def ray_cluster():
    """Start the one Ray cluster of the test run."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join(sys.path)
        )  # workers import the tests' evaluators
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


def pytest_collection_modifyitems(config, items):
    """Keep in one process what shares something costly to make: a file, a room's server, Ray."""
    if getattr(config.option, "numprocesses", None):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item):
    _, room, *rest = item.path.relative_to(item.config.rootpath).parts
    if "ray_cluster" in item.fixturenames:
        return "ray"
    if room in {"api", "page", "storage"}:
        return room
    return item.nodeid if room == "methods" else "/".join([room, *rest])
