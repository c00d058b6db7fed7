"""A time limit for every test of this folder, since bad input must not hang."""

import fuzzing
import pytest


@pytest.fixture(autouse=True)
def no_hang():
  with fuzzing.time_limit(fuzzing.SECONDS * max(1, fuzzing.EXAMPLES / 30)):
    yield
