"""What a figure draws on: predictions, test clips, and the networks' inner values.

Opens records and networks when a figure first asks for them, and keeps one clip in
memory at a time.
"""

import dataclasses
import functools

import jax

from vpn_jax import text
from vpn_jax.analysis import classes
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import style
from vpn_jax.inference import trained_network
from vpn_jax.inputs import example, pipeline, protocol_data
from vpn_jax.records import record_format, store

# Steps of a network that figures show.
KEPT = (*trained_network.ATTENTION, "features", "modulated", "joint_features", "pooled")


class NotAvailableError(Exception):
  """The runs do not allow a figure; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Runs:
  """One run, or a baseline and another, on the same test clips.

  Attributes:
    workdirs: one, or that of the baseline and another.
    names: what figures call the runs.
    predictions: of the test part, one for each run.
    settings: the block `figures` of the configuration; see `jobs/settings.py`.
    data: the block `data`, for the records.
    on_mismatch: "refuse" or "warn", when networks and records do not belong together.
  """

  workdirs: tuple[str, ...]
  names: tuple[str, ...]
  predictions: tuple[predictions_lib.Predictions, ...]
  settings: object
  data: object
  on_mismatch: str

  @property
  def colors(self) -> tuple[str, ...]:
    """One for each run; the last has the same with and without a baseline."""
    return style.COLORS[-len(self.workdirs) :]

  @property
  def class_names(self) -> tuple[str, ...]:
    return self.predictions[-1].class_names

  def need_two(self) -> None:
    """Raises NotAvailableError unless there is a baseline."""
    if len(self.workdirs) < 2:
      raise NotAvailableError("it compares two runs: --workdir=<baseline>,<run>")

  # Classes and clips.

  def class_indices(self, names: str, field: str) -> list[int]:
    """Indices of the classes that a setting names, separated by ";"."""
    asked = text.split_words(names, ";")
    for name in asked:
      if name not in self.class_names:
        raise ValueError(
          f"config.figures.{field} names {name!r}, expected some of "
          f"{list(self.class_names)}, separated by ';'."
        )
    return [self.class_names.index(name) for name in asked]

  def look_alikes(self, number: int) -> list[int]:
    """`config.figures.classes`, or the classes that the runs confuse most."""
    return self.class_indices(self.settings.classes, "classes") or classes.look_alikes(
      self.predictions, number
    )

  @functools.cached_property
  def _opened(self) -> tuple[store.Index, pipeline.Part, dict[str, int]]:
    """The index, the test part, and clip name -> position in the part."""
    try:
      index, parts = protocol_data.open_parts(self.data, ("test",), examples=False)
    except (FileNotFoundError, pipeline.EmptyPartError) as e:
      raise NotAvailableError(str(e)) from e
    part = parts["test"]
    if set(part.class_names) <= set(self.class_names):
      part.number_as(self.class_names)  # as the predictions, which may have more
    return index, part, {clip["name"]: i for i, clip in enumerate(part.clips)}

  @property
  def part(self) -> pipeline.Part:
    """The test part of the records; NotAvailableError without them."""
    return self._opened[1]

  def record(self, name: str) -> record_format.Record:
    """A test clip; NotAvailableError when the records do not hold it."""
    _, part, positions = self._opened
    if name not in positions:
      raise NotAvailableError(
        f"the records in {self.data.records} have no test clip {name!r}: point "
        "config.data.records at those of the runs"
      )
    return store.RecordReader(self.data.records, part.clips)[positions[name]]

  def clips(self, number: int) -> list[str]:
    """Up to `number` of `config.figures.clips`, or a clip of each look-alike."""
    asked = text.split_words(self.settings.clips, ";")
    for name in asked:
      if name not in self._opened[2]:
        raise ValueError(
          f"config.figures.clips names {name!r}, which is not a test clip of "
          f"{self.data.records}: take names of test/predictions.csv, separated by ';'."
        )
    if asked:
      return list(asked[:number])
    return [self.clips_of(k, 1)[0] for k in self.look_alikes(number)[:number]]

  def clips_of(self, label: int, number: int) -> list[str]:
    """The first test clips of a class; NotAvailableError when it has none."""
    names = [clip["name"] for clip in self.part.clips if clip["label"] == label]
    if not names:
      raise NotAvailableError(f"no test clip of {self.class_names[label]!r}")
    return names[:number]

  def label(self, name: str) -> str:
    """The true class of a test clip."""
    _, part, positions = self._opened
    return part.class_names[part.clips[positions[name]]["label"]]

  # Networks.

  @functools.cached_property
  def _networks(self) -> dict[int, trained_network.TrainedNetwork]:
    return {}

  def network(self, run: int) -> trained_network.TrainedNetwork:
    """The network of a run, restored once.

    Raises: NotAvailableError without its checkpoint or the records; ValueError when
      they do not belong together.
    """
    index, part, _ = self._opened
    run = range(len(self.workdirs))[run]
    if run not in self._networks:
      try:
        network = trained_network.load(self.workdirs[run])
      except FileNotFoundError as e:
        raise NotAvailableError(str(e)) from e
      network.provenance.check_part(index, part, self.on_mismatch)
      forward = functools.partial(trained_network.forward, network.model, kept=KEPT)
      self._networks[run] = dataclasses.replace(network, forward=jax.jit(forward))
    return self._networks[run]

  def forward(
    self, run: int, record: record_format.Record
  ) -> tuple[jax.Array, dict, dict]:
    """Applies the network of a run to a clip, prepared as for evaluation.

    Returns: softmax [K], those of `KEPT` that the network has, and its inputs; all
      without the batch axis, the first two on the device.
    Raises: NotAvailableError when the clip lacks what the network needs, such as image
      joints for hands.
    """
    network = self.network(run)
    try:
      inputs = example.make(record, network.settings, network.skeleton, None)
    except ValueError as e:
      raise NotAvailableError(str(e)) from e
    inputs.pop("label")
    batch = {name: value[None] for name, value in inputs.items()}
    scores, out = network.forward(network.variables, batch)
    return scores[0], {name: value[0] for name, value in out.items()}, inputs
