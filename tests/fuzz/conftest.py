"""A time limit for every test of this folder: bad input never hangs."""

import made_damage
import pytest


@pytest.fixture(autouse=True)
def no_hang():
  with made_damage.time_limit(made_damage.SECONDS * max(1, made_damage.EXAMPLES / 30)):
    yield
