"""When a run under way is validated."""

import types

import ml_collections
import pytest

from vpn_jax.training import held_out


def due(parts, epochs, steps=10, clips=24, batch_size=8):
  """The steps after which a run is validated; an epoch has clips / batch_size steps."""
  model = types.SimpleNamespace(inputs=("frames",))
  config = ml_collections.ConfigDict(
    {"train": {"batch_size": batch_size, "eval_every_epochs": epochs}}
  )
  data = {"train": [None] * clips, **dict.fromkeys(parts)}
  session = types.SimpleNamespace(total_steps=steps)
  made = held_out.HeldOut(model, config, data, None, session)
  return [step for step in range(steps + 1) if made.due(step)]


@pytest.mark.parametrize(
  ("parts", "epochs", "expected"),
  [
    (("validation", "test"), 1.0, [3, 6, 9, 10]),
    (("validation",), 0.0, [10]),
    (("test",), 1.0, [3, 6, 9]),  # the test part has its turn at the end
    (("test",), 0.0, []),
    ((), 1.0, []),
    (("validation",), 0.5, [2, 3, 5, 6, 8, 9, 10]),  # after 1.5 steps, rounded up
  ],
)
def test_due(parts, epochs, expected):
  assert due(parts, epochs) == expected
