"""The pipeline from records to batches of training and evaluation.

All randomness is a function of (seed, epoch, position in the epoch), so that the number
of threads and processes does not change a batch, and the n-th batch can be computed
directly: one number holds the position in the data.
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence

import grain
import numpy as np
from absl import flags

from vpn_jax.datasets import protocols, skeletons
from vpn_jax.inputs import (
  example,
  multi_view,
  other_poses,
  pose_augmentation,
  pose_coordinates,
  pose_damage,
  regions,
  sampling,
  training_order,
)
from vpn_jax.records import record_format, store

Batch = dict[str, np.ndarray]


class EmptyPartError(ValueError):
  """No prepared clip belongs to a part of the protocol."""


class Part:
  """The clips of one part of a protocol: names, labels and batches.

  Attributes:
    protocol: which clips train, validate and test.
    clips: entries of the index that belong to the part; labels are positions in
      `class_names`.
    class_names: of the protocol, which may keep some classes of the dataset only.
    corrected: clip -> class, of its clips whose label was corrected.
    features: f of every view, float32 [T, M, N, C], in the order of `train_views` (key
      None) or `eval_views` (key: the inference). Where there are some, batches hold
      `features` instead of frames, which are not decoded.
  """

  def __init__(
    self,
    folder,
    index: store.Index,
    protocol: protocols.Protocol,
    part: str,
    settings: example.Settings,
    corrections: Mapping[str, str] = types.MappingProxyType({}),
  ):
    """Selects the clips of `part` from `index`; EmptyPartError when there are none.

    Args:
      folder: of the records.
      corrections: clip -> its class, where the label of the records is wrong.
    """
    self.settings = settings
    self.skeleton = skeletons.get(index.skeleton)
    pose_augmentation.check(settings.augment, self.skeleton)
    if self.skeleton.digest() != index.skeleton_digest:
      raise ValueError(
        f"skeleton {index.skeleton!r} has digest {self.skeleton.digest()} here and "
        f"{index.skeleton_digest} in {folder}: run --job=prepare again."
      )
    names = protocols.class_names(protocol, index.class_names)
    label_of = {name: i for i, name in enumerate(names)}
    self.protocol, self.class_names = protocol, names
    self.clips, self.corrected = [], {}
    for clip in index.clips():
      labelled = index.class_names[clip["label"]]
      name = corrections.get(clip["name"], labelled)
      if name in label_of and protocols.part(protocol, clip["attributes"]) == part:
        label = {"raw_label": clip["label"], "label": label_of[name]}
        self.clips.append({**clip, **label})
        if name != labelled:
          self.corrected[clip["name"]] = name
    if not self.clips:
      raise EmptyPartError(
        f"no clip of {folder} belongs to the {part} part of {protocol}: prepare the "
        "rest of the dataset or choose another protocol."
      )
    self.features: dict[multi_view.Inference | None, Sequence[np.ndarray]] = {}
    self._record_side = index.crop.get("size", 0)  # 0 without frames
    self._reader = store.RecordReader(folder, self.clips)
    names = [clip["name"] for clip in self.clips]
    self._other_poses = other_poses.OtherPoses(names, self._poses)

  def __len__(self) -> int:
    return len(self.clips)

  def number_as(self, class_names: tuple[str, ...]) -> None:
    """Numbers the classes as a network does, which has these and perhaps more."""
    number = [class_names.index(name) for name in self.class_names]
    self.clips = [{**clip, "label": number[clip["label"]]} for clip in self.clips]
    self.class_names = class_names
    self._reader.clips = self.clips

  def _example(
    self,
    i: int,
    rng: np.random.Generator | None,
    view: multi_view.View = multi_view.MIDDLE,
    fixed: np.random.Generator | None = None,
    inputs: tuple[str, ...] = (),
    damage: pose_damage.Damage = pose_damage.NONE,
  ) -> Batch:
    """The i-th clip as the network sees it; RecordError when it is damaged.

    Args:
      i: position in `clips`.
      rng, view, fixed, damage: as in `example.make`.
      inputs: instead of those of `settings`.
    """
    clip = self.clips[i]
    settings = self.settings
    if inputs:
      settings = dataclasses.replace(settings, inputs=inputs)
    try:
      record = self._reader[i]
      if record.label != clip["raw_label"]:
        raise ValueError(f"label is {record.label}, the index has {clip['raw_label']}")
      made = example.make(record, settings, self.skeleton, rng, view, fixed, damage)
    except (
      record_format.RecordError,
      regions.NoHandsError,
      pose_coordinates.NoJointsError,
    ):
      raise
    except Exception as e:  # frames and poses of other types, shapes or numbers
      raise record_format.RecordError(
        f"{self._reader.folder / clip['shard']}, record {clip['position']}: "
        f"{clip['name']} cannot be used ({type(e).__name__}: {e}): find others with "
        "--job=prepare --config.prepare.verify=True, delete the shard and run "
        "--job=prepare again."
      ) from e
    made["label"] = np.int32(clip["label"])
    return made

  def _inputs_beside(self, features) -> tuple[str, ...]:
    """The inputs to decode beside features; () for all inputs, without features."""
    if features is None:
      return ()
    return tuple(name for name in self.settings.inputs if name != "frames") or ("pose",)

  def train_views(self) -> list[tuple[int, multi_view.View]]:
    """All fixed views of training: K per clip, as (position in `clips`, view)."""
    views = self.settings.views
    return [
      (i, multi_view.View(window=(k, views)))
      for i in range(len(self))
      for k in range(views)
    ]

  def eval_views(
    self, inferred: multi_view.Inference = multi_view.ONE_VIEW
  ) -> list[tuple[int, multi_view.View]]:
    """All views of an evaluation in order, as (position in `clips`, view).

    A clip too short for K different windows has fewer.
    """
    shown = inferred.spatial_views(self._record_side)
    found = []
    for i, clip in enumerate(self.clips):
      starts = sampling.window_starts(clip["num_frames"], self.settings.num_frames)[1]
      windows = min(inferred.windows, starts)
      found += [
        (i, dataclasses.replace(view, window=(k, windows)))
        for k in range(windows)
        for view in shown
      ]
    return found

  def frames_of(self, i: int, view: multi_view.View, *, fixed: bool) -> np.ndarray:
    """The pixels of one view of the i-th clip, uint8 [F, H, W, 3].

    Args:
      fixed: whether it is one of `train_views` rather than of `eval_views`.
    """
    drawn = _drawn_once(i, view) if fixed else None
    return self._example(i, None, view, drawn, ("frames",))["frames"]

  @property
  def _pose_inputs(self) -> tuple[str, ...]:
    """The inputs that are poses."""
    return example.poses_of(self.settings.inputs)

  def _poses(
    self,
    i: int,
    view: multi_view.View = multi_view.MIDDLE,
    damage: pose_damage.Damage = pose_damage.NONE,
  ) -> Batch:
    """The poses of the i-th clip by input; its frames are not decoded."""
    made = self._example(i, None, view, inputs=self._pose_inputs, damage=damage)
    return {name: made[name] for name in self._pose_inputs}

  def train_batches(
    self,
    batch_size: int,
    seed: int,
    *,
    balanced: bool = False,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    threads: int = 4,
    workers: int = 0,
  ) -> Iterator[Batch]:
    """Endless shuffled batches; every clip occurs once per epoch.

    Epochs follow each other within a batch. Balanced batches have no epochs: see
    `training_order.balanced`.

    Args:
      batch_size: of all processes together.
      seed: of the order and of all draws.
      balanced: whether all classes occur equally often.
      start: number of batches to skip: the position in the data when resuming.
      shard: (this process, number of processes); each gets its block of the same global
        batches, in the order in which the mesh joins them.
      threads: that read and decode in this process.
      workers: processes that read ahead; 0 uses the threads alone.
    Yields: stacked examples of `example.make`: frames uint8 [B, F, H, W, 3], pose
      float32 [B, S, J, 3], label int32 [B]; and index int32 [B], the position in
      `clips`. With `features`, these float32 [B, T, M, N, C] instead of frames.
    Raises: ValueError for a batch_size that cannot be divided; from `next`, RecordError
      for a damaged record and OSError when a worker process died.
    """
    this, total = shard
    if batch_size % total:
      raise ValueError(
        f"batch_size is {batch_size}, expected a multiple of {total} processes."
      )
    if balanced:
      order = training_order.balanced([clip["label"] for clip in self.clips], seed)
    else:
      order = training_order.shuffled(len(self), seed)
    dataset = order.random_map(self._train_example)
    local = batch_size // total
    if total > 1:
      places = range(this * local, (this + 1) * local)
      dataset = grain.MapDataset.mix([dataset[p::batch_size] for p in places])
    dataset = dataset.batch(local)[start:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    stream = dataset.to_iter_dataset(options)
    if workers:
      if not flags.FLAGS.is_parsed():  # grain reads flags of its own, in notebooks too
        flags.FLAGS.mark_as_parsed()
      stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return _until_a_worker_dies(iter(stream))

  def _train_example(self, i: int, rng: np.random.Generator) -> Batch:
    made, views = {"index": np.int32(i)}, self.settings.views
    if not views:
      return {**self._example(i, rng), **made}
    features = self.features.get(None)
    k = int(rng.integers(views))
    view = multi_view.View(window=(k, views))
    if features is not None:
      made["features"] = features[i * views + k]
    drawn, inputs = _drawn_once(i, view), self._inputs_beside(features)
    return {**self._example(i, rng, view, drawn, inputs), **made}

  def eval_batches(
    self,
    batch_size: int,
    inferred: multi_view.Inference = multi_view.ONE_VIEW,
    *,
    others: Sequence[other_poses.Kind] = (),
    shard: tuple[int, int] = (0, 1),
    threads: int = 4,
  ) -> Iterator[Batch]:
    """Every view of every clip once, in order; the last batch is padded.

    Args:
      batch_size: of all processes together.
      inferred: views and poses; by default one view per clip. A clip too short for K
        different windows has fewer.
      others: other poses of each clip that the batches hold beside its own: controls by
        their name in `pose_controls.CONTROLS`, and kinds of damage.
      shard, threads: as in `train_batches`.
    Yields: as `train_batches`, and valid bool [B], False for padding; of others also
      pose_shuffled, pose_rest and `pose_<damage>`, each shaped as pose, and those of
      frame_joints.
    Raises: RecordError from `next` for a damaged record; with controls or poses of
      other clips also at once, and ValueError for a single clip.
    """
    this, total = shard
    local = batch_size // total
    views = self.eval_views(inferred)
    features = self.features.get(inferred)
    inputs = self._inputs_beside(features)
    rounds = -(-len(views) // batch_size)
    places = np.arange(rounds * batch_size)[this::total]
    beside, instead = {}, None
    if self._pose_inputs:
      beside = {str(one): self._other_poses.give(one, views) for one in others}
      if inferred.poses != "own":
        damaged = inferred.poses == "damaged"
        given = inferred.damage if damaged else inferred.poses
        instead = self._other_poses.give(given, views)

    def load(place: int) -> Batch:
      shown = min(place, len(views) - 1)
      i, view = views[shown]
      made = self._example(i, None, view, inputs=inputs)
      if features is not None:
        made["features"] = features[shown]
      for other, poses in beside.items():
        made.update((f"{name}_{other}", x) for name, x in poses(i, view).items())
      if instead:
        made.update(instead(i, view))
      return {**made, "index": np.int32(i), "valid": np.bool_(place == shown)}

    dataset = grain.MapDataset.source(places).map(load).batch(local)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(dataset.to_iter_dataset(options))


def _drawn_once(i: int, view: multi_view.View) -> np.random.Generator:
  """The generator of the flip and the crop of a fixed view, the same in every run."""
  return np.random.default_rng((i, *view.window))


def _until_a_worker_dies(batches: Iterator[Batch]) -> Iterator[Batch]:
  """The batches; OSError instead of grain's error when a worker process died."""
  while True:
    try:
      batch = next(batches)
    except RuntimeError as e:
      if "process was terminated" not in str(e):
        raise
      raise OSError(
        f"a process that reads batches died ({e}), most often out of memory: resume "
        "with fewer config.data.workers, or 0."
      ) from e
    yield batch
