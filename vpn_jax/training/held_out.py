"""Evaluation of a run under way: validation between steps, the test at its end."""

import dataclasses
import time
from collections.abc import Callable

import ml_collections

from vpn_jax.evaluation import metrics, scoring
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.inputs import multi_view, pipeline
from vpn_jax.models import networks
from vpn_jax.training import cached_features, evaluate
from vpn_jax.training.session import Session


class HeldOut:
  """The parts that a network under training is scored on: validation and test."""

  def __init__(
    self,
    model,
    config: ml_collections.ConfigDict,
    data: dict[str, pipeline.Part],
    place: Callable[[dict], dict],
    session: Session,
  ):
    """Compiles nothing before it is needed.

    Args:
      model: the network that trains.
      config: of the session.
      data: the parts by name; "validation" and "test" may be missing.
      place: puts a host batch on the devices.
      session: notes what was validated; may stop between two batches.
    """
    self._model, self._config, self._data, self._place = model, config, data, place
    self._session = session
    self._score_step = scoring.ScoreStep(model)
    self._held_out = "validation" if "validation" in data else "test"
    steps_per_epoch = len(data["train"]) / config.train.batch_size
    self._period = config.train.eval_every_epochs * steps_per_epoch

  def due(self, step: int) -> bool:
    """Whether to validate after a step, which ends a period or the training.

    The test part, which stands in where there is no validation part, has its turn at
    the end.
    """
    if step in (0, self._session.total_steps):
      return step > 0 and "validation" in self._data
    if not self._period or self._held_out not in self._data:
      return False
    return step // self._period > (step - 1) // self._period

  def missed(self, step: int) -> bool:
    """Whether a run that resumes at a step was stopped before it was validated."""
    noted = self._session.checkpoints.evaluated(step, self._held_out)
    return self.due(step) and not noted

  def validate(self, step: int, variables: dict) -> None:
    """Reports the accuracy of a step that is saved, and notes it for `best_step`.

    Only the validation part chooses the best step, never the test part; it also says at
    which temperature the scores are calibrated.
    """
    found = self._scores(self._held_out, self._score_step, variables)["own"]
    values = predictions_lib.metrics(found)
    session, part = self._session, self._held_out
    line = f"step {step}: {part} top-1 {values['top1']:.1f}"
    if part == "validation":
      best = metrics.best_temperature(found.labels, found.scores)
      values["temperature"] = best
      line += f", calibrated with --config.inference.temperature={best:.2f}"
    session.out.scalars(step, {f"{part}/{name}": v for name, v in values.items()})
    session.say(line)
    session.checkpoints.set_evaluated(step, part, values["top1"])

  def test(self, variables: dict) -> dict:
    """Tests the trained network, and writes the files of the test.

    Returns: its metrics, clips a second, and the inference as a dict.
    """
    config, part = self._config, self._data["test"]
    inferred = multi_view.Inference(**config.inference)
    fields = networks.inference_fields(
      config.model.to_dict(), config.data.example, inferred.views
    )
    model = networks.build(config.network, fields)
    if config.features.cached:
      model = cached_features.reader(model)
    same = model == self._model
    score_step = self._score_step if same else scoring.ScoreStep(model)
    controls = scoring.controls(model, part, inferred)
    first = next(evaluate.batches(part, config, inferred, controls))
    for name in ("index", "valid"):  # which only the host needs
      del first[name]
    score_step(variables, self._place(first))  # compiles
    began = time.monotonic()
    found = self._scores("test", score_step, variables, inferred, controls)
    seconds = time.monotonic() - began
    step = self._session.last_step
    tested = evaluate.write(self._session.workdir, step, found, inferred)
    values = tested.metrics
    if tested.unwritten:  # the run ends here: first, what it came to
      self._session.say(f"step {step}: test top-1 {values['top1']:.1f}")
      tested.check()
    self._session.out.scalars(step, {f"test/{name}": v for name, v in values.items()})
    return {
      **values,
      "eval_clips_per_second": len(found["own"].names) / max(seconds, 1e-9),
      "inference": dataclasses.asdict(inferred),
    }

  def _scores(
    self,
    part: str,
    score_step: Callable,
    variables: dict,
    inferred: multi_view.Inference = multi_view.ONE_VIEW,
    controls: tuple[str, ...] = (),
  ) -> dict[str, predictions_lib.Predictions]:
    batches = evaluate.batches(self._data[part], self._config, inferred, controls)
    batches = self._session.requests.watch(batches, self._session.stop)
    return scoring.score_part(
      score_step, variables, self._data[part], batches, self._place, inferred
    )
