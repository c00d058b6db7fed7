"""Settings that cannot be meant are refused before anything happens."""

import pytest

from vpn_jax.training import loop, settings_check


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("seed", -1, "0 or more"),
    ("train.steps", -5, "0 or more"),
    ("train.log_every", -1, "0 or more"),
    ("train.save_every", -1, "0 or more"),
    ("train.eval_every_epochs", -0.5, "0 or more"),
    ("model.dropout", 1.5, "0 or more, less than 1"),
    ("train.epochs", 0.0, "a positive number"),
    ("train.epochs", float("nan"), "a positive number"),
  ],
)
def test_numbers_out_of_range(field, value, expected, small_config, tmp_path):
  c = small_config
  c.train.steps = 0
  settings_check.check(c)
  c.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=rf"config\.{field} is .*, expected {expected}"):
    loop.train(c, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()


def test_a_warm_up_ends_before_the_training(small_config):
  c = small_config
  c.train.update(steps=0, epochs=5.0)
  c.optimizer.warmup_epochs = 4.5
  settings_check.check(c)
  c.optimizer.warmup_epochs = 5.0
  with pytest.raises(ValueError, match=r"warmup_epochs is 5\.0, expected less than"):
    settings_check.check(c)


def test_a_period_of_zero_is_never(small_config, tmp_path):
  """The last step is saved and reported all the same."""
  c = small_config
  c.train.update(steps=3, log_every=0, save_every=0)
  before = c.to_json()
  assert loop.train(c, str(tmp_path / "run"))["steps"] == 3
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  assert sum("train/loss" in line for line in lines) == 2  # the first and the last
  assert c.to_json() == before  # the caller's configuration stays as it was
