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
