"""The metrics of recent steps: their means, and a stop when one is not finite."""

import jax
import numpy as np

from vpn_jax.training import checkpoint

AHEAD = 2  # steps given to the devices before the first of them is waited for


class Monitor:
  """Holds the metrics of recent steps and stops the run when one is not finite.

  Args:
    clips: of the training part, for the names in the message.
    runs: the checkpoints of the run.
  """

  def __init__(self, clips: list[dict], runs: checkpoint.Checkpoints):
    self._clips, self._runs = clips, runs
    self._running, self._values = [], []

  def add(self, step: int, index: np.ndarray, metrics: dict) -> None:
    """Takes the metrics of a step, and waits for the step before the last ones.

    So few batches are held at a time.

    Args:
      step: number of the step.
      index: of its clips, int [B].
      metrics: name -> float [], on the devices.
    """
    self._running.append((step, index, metrics))
    if len(self._running) > AHEAD:
      self._finish()

  def settle(self) -> None:
    """Waits for every step; FloatingPointError names the first bad one."""
    while self._running:
      self._finish()

  def flush(self) -> dict[str, float]:
    """Means since the last flush."""
    self.settle()
    values, self._values = self._values, []
    return {k: float(np.mean([v[k] for v in values])) for k in values[0]}

  def _finish(self) -> None:
    step, index, metrics = self._running.pop(0)
    values = jax.device_get(metrics)
    for name in ("loss", "gradient_norm"):
      if not np.isfinite(values[name]):
        clips = ", ".join(self._clips[i]["name"] for i in index)
        latest = self._runs.latest_step()
        good = "there is no checkpoint yet"
        if latest is not None:
          folder = self._runs.workdir / checkpoint.FOLDER
          good = f"the last good checkpoint is step {latest} in {folder}"
        raise FloatingPointError(
          f"{name} is {values[name]} at step {step} on clips {clips}: lower "
          f"config.optimizer.learning_rate or look at these clips; {good}."
        )
    self._values.append(values)
