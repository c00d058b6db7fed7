"""What a figure may draw on: predictions, test clips, and the networks' inner values.

Records and networks are opened when a figure first asks for them, and one clip is in
memory at a time.
"""

import dataclasses
import functools

import jax

from vpn_jax.analysis import classes
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import style
from vpn_jax.inference import trained_network
from vpn_jax.inputs import pipeline
from vpn_jax.records import store
from vpn_jax.training.provenance import Provenance

# Steps of a network that figures show.
KEPT = (*trained_network.ATTENTION, "features", "modulated", "joint_features", "pooled")


class NotAvailableError(Exception):
  """A figure that these runs do not allow; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The runs of a figure.

  Attributes:
    config: for the records, and `config.figures`.
    workdirs: one, or the baseline and another.
    names: how the runs are called in figures.
    predictions: of the test part, one for each run.
  """

  config: object
  workdirs: tuple[str, ...]
  names: tuple[str, ...]
  predictions: tuple[predictions_lib.Predictions, ...]

  @property
  def settings(self):
    """`config.figures`."""
    return self.config.figures

  @property
  def colors(self) -> tuple[str, ...]:
    """One for each run; the last has the same whether or not there is a baseline."""
    return style.COLORS[-len(self.workdirs) :]

  @property
  def class_names(self) -> tuple[str, ...]:
    return self.predictions[-1].class_names

  def need_two(self) -> None:
    """NotAvailableError unless there is a baseline."""
    if len(self.workdirs) < 2:
      raise NotAvailableError("it compares two runs: --workdir=<baseline>,<run>")

  # Classes and clips.

  def class_places(self, names: str, field: str) -> list[int]:
    """Places of classes named in a setting, parted by ";"."""
    asked = [name.strip() for name in names.split(";") if name.strip()]
    for name in asked:
      if name not in self.class_names:
        raise ValueError(
          f"config.figures.{field} names {name!r}, expected some of "
          f"{list(self.class_names)}, parted by ';'."
        )
    return [self.class_names.index(name) for name in asked]

  def look_alikes(self, number: int) -> list[int]:
    """`config.figures.classes`, or the classes that the runs mix up most."""
    return self.class_places(self.settings.classes, "classes") or classes.look_alikes(
      self.predictions, number
    )

  @functools.cached_property
  def _opened(self) -> tuple[store.Index, pipeline.Part, dict[str, int]]:
    data = self.config.data.copy_and_resolve_references()
    try:
      index, parts = pipeline.open_parts(data, ("test",))
    except (FileNotFoundError, pipeline.EmptyPartError) as e:
      raise NotAvailableError(str(e)) from e
    part = parts["test"]
    return index, part, {clip["name"]: i for i, clip in enumerate(part.clips)}

  @property
  def part(self) -> pipeline.Part:
    """The test part of the records; NotAvailableError without them."""
    return self._opened[1]

  def record(self, name: str) -> store.Record:
    """A test clip; NotAvailableError when the records do not hold it."""
    _, part, places = self._opened
    if name not in places:
      raise NotAvailableError(
        f"the records in {self.config.data.records} have no test clip {name!r}: point "
        "config.data.records at those of the runs"
      )
    return store.Source(self.config.data.records, part.clips)[places[name]]

  def clips(self, number: int) -> list[str]:
    """`config.figures.clips`, or the first test clip of each of the look-alikes."""
    asked = [n.strip() for n in self.settings.clips.split(";") if n.strip()]
    if asked:
      names = {clip["name"] for clip in self.part.clips}
      for name in asked:
        if name not in names:
          raise ValueError(
            f"config.figures.clips names {name!r}, which is no test clip of "
            f"{self.config.data.records}: take names of test/predictions.csv, parted "
            "by ';'."
          )
      return asked
    return [self.clips_of(k, 1)[0] for k in self.look_alikes(number)[:number]]

  def clips_of(self, label: int, number: int) -> list[str]:
    """The first test clips of a class; NotAvailableError when it has none."""
    names = [clip["name"] for clip in self.part.clips if clip["label"] == label]
    if not names:
      raise NotAvailableError(f"no test clip of {self.class_names[label]!r}")
    return names[:number]

  def label(self, name: str) -> str:
    """The true class of a test clip."""
    _, part, places = self._opened
    return part.class_names[part.clips[places[name]]["label"]]

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
      network.provenance.check(
        Provenance.of(index, part.protocol), on_mismatch=self.config.on_mismatch
      )
      keep = functools.partial(trained_network.forward, network.model, kept=KEPT)
      self._networks[run] = dataclasses.replace(network, forward=jax.jit(keep))
    return self._networks[run]

  def look(self, run: int, record: store.Record) -> tuple[jax.Array, dict, dict]:
    """What a network makes of a clip, as evaluation shows it.

    Returns: softmax [K], those of `KEPT` that the network has, and what it was given;
      all without the axis of the batch, the first two on the device.
    Raises: NotAvailableError for hands of a record without image joints.
    """
    network = self.network(run)
    try:
      given = pipeline.example(record, network.settings, network.skeleton, None)
    except ValueError as e:
      raise NotAvailableError(str(e)) from e
    given.pop("label")
    batch = {name: value[None] for name, value in given.items()}
    scores, out = network.forward(network.variables, batch)
    return scores[0], {name: value[0] for name, value in out.items()}, given
