"""What all tests share: one BLAS thread, repeatable Hypothesis, one Ray for the session."""

import logging
import os

import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

threadpool_limits(limits=1)  # as every process of a run does
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def ray_session():
    """One small Ray on this machine; a fleet that finds it joins it and leaves it running."""
    # Read by Ray when it is imported: silences a notice about accelerators nobody asked for.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
