"""From records to batches: which frames, which poses, which pixels.

Every choice at random is a function of (seed, epoch, place in the epoch) alone, so that
neither the number of threads nor of processes changes a batch, and the n-th batch can
be asked for directly: the place in the data is one number.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import grain
import jax
import numpy as np

from vpn_jax.datasets import obtain, protocols, skeletons
from vpn_jax.inputs import multi_view, pose_controls, regions
from vpn_jax.records import store

Batch = dict[str, np.ndarray]
INPUTS = ("frames", *regions.HANDS, "pose")
_EPOCHS = 10_000_000  # "endless", with a length that still counts in 64 bits


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a record becomes an example; `Settings(**config.data.example)`.

  Attributes:
    num_frames: F, frames of the network.
    frame_size: H = W, pixels; the crop of the record is resized to it.
    pose_steps: S, t_p of the paper.
    pose_window: "clip" draws the poses from the frames' window, "video" from the whole
      clip. Reading: the paper says "from each clip"; the released code takes the video.
    persons: 1 is the main actor, 2 puts a second one behind it on the joint axis.
    flip: mirror half of the training clips, frames, hands and poses alike.
    crop: smallest side of a random training crop of `frames` as a fraction of what they
      show; 1 takes it whole, as the paper does.
    views: K, fixed views of a training clip, of which each epoch shows one: its windows
      are spread evenly over the clip, its flip and crop are drawn once. 0 draws a new
      window, flip and crop each time.
    inputs: what of `INPUTS` the network takes; the rest is not decoded.
    region: what `frames` shows: "body", or "left_hand" or "right_hand" alone.
    hand_size: side of the square around a hand as a fraction of the record's frame.
  """

  num_frames: int = 64
  frame_size: int = 224
  pose_steps: int = 20
  pose_window: str = "clip"
  persons: int = 1
  flip: bool = False
  crop: float = 1.0
  views: int = 0
  inputs: tuple[str, ...] = ("frames", "pose")
  region: str = "body"
  hand_size: float = 0.4

  def __post_init__(self):
    unknown = set(self.inputs) - set(INPUTS)
    if unknown or not self.inputs:
      raise ValueError(f"inputs are {tuple(self.inputs)}, expected some of {INPUTS}.")
    if self.region not in regions.REGIONS:
      raise ValueError(f"region is {self.region!r}, expected one of {regions.REGIONS}.")
    if not 0.0 < self.hand_size <= 1.0:
      raise ValueError(
        f"hand_size is {self.hand_size}, expected a fraction of the frame, 0 to 1."
      )
    if self.pose_window not in ("clip", "video"):
      raise ValueError(
        f"pose_window is {self.pose_window!r}, expected 'clip' or 'video'."
      )
    if not 0.2 <= self.crop <= 1.0:
      raise ValueError(f"crop is {self.crop}, expected a fraction from 0.2 to 1.")
    if self.views < 0:
      raise ValueError(f"views is {self.views}, expected 0 or more.")
    for name in ("num_frames", "frame_size", "pose_steps", "persons"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more.")

  def example_shapes(self, joints: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of an example's inputs, for poses of `persons` * J joints."""
    size = self.frame_size
    pixels = jax.ShapeDtypeStruct((self.num_frames, size, size, 3), np.uint8)
    pose = jax.ShapeDtypeStruct((self.pose_steps, joints, 3), np.float32)
    return {name: pose if name == "pose" else pixels for name in self.inputs}


def window_starts(available: int, num_frames: int) -> tuple[int, int]:
  """Stride of a window in a clip, and how many starts it can have, 1 or more.

  Source: section 2 of the released code's loaders: stride 2 when the clip has 2F frames
    or more, else stride 1. A shorter clip than F has one window.
  """
  stride = 2 if available >= 2 * num_frames else 1
  return stride, max(1, available - stride * num_frames + 1)


def frame_window(
  available: int,
  num_frames: int,
  rng: np.random.Generator | None,
  which: tuple[int, int] = (0, 1),
) -> np.ndarray:
  """Indices of the frames to show, int [F].

  Args:
    available: frames of the clip, 1 or more.
    num_frames: F.
    rng: draws the start; None for evaluation.
    which: of evaluation: (k, K), the k-th of K windows spread from the start of the
      clip to its end; the only one lies in the middle.
  Reading: a shorter clip repeats from its start. Released code: sorts the repeated
    list, which shows each frame several times in a row.
  """
  if available < num_frames:
    return np.arange(num_frames) % available
  stride, starts = window_starts(available, num_frames)
  k, windows = which
  if rng is not None:
    start = int(rng.integers(starts))
  elif windows == 1:
    start = (starts - 1) // 2
  else:
    start = (starts - 1) * k // (windows - 1)
  return start + stride * np.arange(num_frames)


def pose_indices(
  first: int, last: int, pose_steps: int, rng: np.random.Generator | None
) -> np.ndarray:
  """One frame from each of S equal segments of first..last inclusive, int [S].

  Args:
    rng: draws inside each segment; None takes the centres (evaluation).
  Source: section 4.1, poses uniformly sampled from each clip.
  """
  place = np.full(pose_steps, 0.5) if rng is None else rng.random(pose_steps)
  segment = (last + 1 - first) / pose_steps
  indices = first + np.floor((np.arange(pose_steps) + place) * segment)
  return np.clip(indices, first, last).astype(np.int64)


def center_pose(pose: np.ndarray, skeleton: skeletons.Skeleton) -> np.ndarray:
  """Moves the origin to the body of the main actor's first valid frame.

  Args:
    pose: float [F, persons, J, 3], metres; NaN where nobody was seen.
  Returns: the same shape; joints that are NaN become zero.
  Source: section 4 of the released loaders; nothing else is normalised.
  """
  origins = pose[:, 0, skeleton.origin_indices()].mean(axis=1)  # [F, 3]
  valid = np.isfinite(origins).all(axis=-1)
  origin = origins[np.argmax(valid)] if valid.any() else np.zeros(3, pose.dtype)
  return np.nan_to_num(pose - origin, nan=0.0).astype(np.float32)


def mirror_pose(pose: np.ndarray, skeleton: skeletons.Skeleton) -> np.ndarray:
  """Poses [S, persons, J, 3] seen in a mirror: x negated, left and right swapped."""
  return pose[:, :, skeleton.mirror()] * np.array([-1, 1, 1], np.float32)


def cuts(
  record: store.Record,
  settings: Settings,
  skeleton: skeletons.Skeleton,
  window: np.ndarray,
  view: multi_view.View,
  rng: np.random.Generator | None,
  flip: bool,
) -> dict[str, regions.Cut]:
  """What the inputs that are pixels show of the frames of a window, by their names.

  In a mirror the right hand is the left one. The part that a view or the random crop
  shows is of `frames` alone: a part of the region, the same one in all frames.
  """
  shown = {name: name for name in settings.inputs if name in regions.HANDS}
  if "frames" in settings.inputs:
    shown["frames"] = settings.region
  if not shown:
    return {}
  whole = store.frame_side(record.frames[window[0]])
  size = view.size or settings.frame_size  # one for all, so that their features fit
  made = {}
  for name, region in shown.items():
    squares = regions.squares(
      record,
      regions.mirrored(region) if flip else region,
      window,
      frame_side=whole,
      hand_size=settings.hand_size,
      skeleton=skeleton,
    )
    made[name] = regions.Cut(squares, size)
  if "frames" in made:
    squares = made["frames"].squares
    side = int(squares[0, 2])
    part = view.part(side)
    if rng is not None and settings.crop < 1.0:
      inner = round(side * rng.uniform(settings.crop, 1.0))
      left, top = rng.integers(side - inner + 1, size=2)
      part = int(left), int(top), inner
    made["frames"] = regions.Cut(regions.inside(squares, part), size)
  return made


def example(
  record: store.Record,
  settings: Settings,
  skeleton: skeletons.Skeleton,
  rng: np.random.Generator | None,
  view: multi_view.View = multi_view.MIDDLE,
  fixed: np.random.Generator | None = None,
) -> Batch:
  """A record as the network sees it.

  Args:
    rng: randomness of training; None for evaluation, which always gives the same.
    view: of evaluation: which window, and which part of its frames.
    fixed: of a fixed view of training (`Settings.views`): draws its flip and crop, and
      the window is that of `view`; `rng` then draws the pose steps alone.
  Returns: label int32 [], and of frames, left_hand and right_hand uint8 [F, H, W, 3]
    and pose float32 [S, persons*J, 3] those in `settings.inputs`. Which ones does not
    change the draws.
  Raises: ValueError for a hand of a record without image joints.
  """
  s = settings
  drawn = rng if fixed is None else fixed
  start = rng if fixed is None else None
  window = frame_window(len(record.frames), s.num_frames, start, view.window)
  if s.pose_window == "video":
    first, last = 0, len(record.frames) - 1
  else:
    first, last = int(window.min()), int(window.max())
  steps = pose_indices(first, last, s.pose_steps, rng)
  pose = center_pose(record.pose[:, : s.persons], skeleton)[steps]

  flip = drawn is not None and s.flip and drawn.random() < 0.5
  made = {"label": np.int32(record.label)}
  if shown := cuts(record, s, skeleton, window, view, drawn, flip):
    made.update(regions.decode([record.frames[i] for i in window], shown, flip))
  if "pose" not in s.inputs:
    return made
  if flip:
    pose = mirror_pose(pose, skeleton)
  missing = s.persons - pose.shape[1]
  if missing > 0:  # an absent person is zeros
    pose = np.pad(pose, ((0, 0), (0, missing), (0, 0), (0, 0)))
  made["pose"] = pose.reshape(s.pose_steps, -1, 3)
  return made


class EmptyPartError(ValueError):
  """No prepared clip belongs to a part of the protocol."""


class Part:
  """The clips of one part of a protocol: names, labels and batches.

  Attributes:
    protocol: which clips train, validate and test.
    clips: entries of the index that belong here, labels counted from 0 over
      `class_names`.
    class_names: of the protocol, which may leave out classes of the dataset.
    features: f of every view, float32 [T, M, N, C], in the order of `train_views`
      (under None) or of `eval_views` (under its inference). Where they are given,
      batches hold `features` in place of frames, which are not decoded.
  """

  def __init__(self, folder, index: store.Index, protocol, part: str, settings):
    """Selects from `index`; EmptyPartError when nothing is left."""
    self.settings = settings
    self.skeleton = skeletons.get(index.skeleton)
    if self.skeleton.digest() != index.skeleton_digest:
      raise ValueError(
        f"skeleton {index.skeleton!r} has digest {self.skeleton.digest()} here and "
        f"{index.skeleton_digest} in {folder}: run --job=prepare again."
      )
    names = protocols.class_names(protocol, index.class_names)
    label_of = {index.class_names.index(n): i for i, n in enumerate(names)}
    self.protocol, self.class_names = protocol, names
    self.clips = [
      {**clip, "raw_label": clip["label"], "label": label_of[clip["label"]]}
      for clip in index.clips()
      if clip["label"] in label_of
      and protocols.part(protocol, clip["attributes"]) == part
    ]
    if not self.clips:
      raise EmptyPartError(
        f"no clip of {folder} belongs to the {part} part of {protocol}: prepare the "
        "rest of the dataset or choose another protocol."
      )
    self.features: dict[multi_view.Inference | None, Sequence[np.ndarray]] = {}
    self._record_side = index.crop["size"]
    self._source = store.Source(folder, self.clips)

  def __len__(self) -> int:
    return len(self.clips)

  def _example(
    self,
    i: int,
    rng: np.random.Generator | None,
    view: multi_view.View = multi_view.MIDDLE,
    fixed: np.random.Generator | None = None,
    inputs: tuple[str, ...] = (),
  ) -> Batch:
    """The i-th clip as the network sees it; RecordError when it is damaged.

    Args:
      inputs: in place of those of `settings`.
    """
    clip = self.clips[i]
    settings = self.settings
    if inputs:
      settings = dataclasses.replace(settings, inputs=inputs)
    try:
      record = self._source[i]
      if record.label != clip["raw_label"]:
        raise ValueError(f"label is {record.label}, the index says {clip['raw_label']}")
      made = example(record, settings, self.skeleton, rng, view, fixed)
    except (store.RecordError, regions.NoHandsError):
      raise
    except Exception as e:  # frames and poses of other types, shapes or numbers
      raise store.RecordError(
        f"{self._source.folder / clip['shard']}, record {clip['position']}: "
        f"{clip['name']} cannot be used ({type(e).__name__}: {e}): look for more with "
        "--job=prepare --config.prepare.verify=True, delete the shard and run "
        "--job=prepare again."
      ) from e
    made["label"] = np.int32(clip["label"])
    return made

  def _inputs_beside(self, features) -> tuple[str, ...]:
    """What is decoded beside given features; () for all, without any."""
    if features is None:
      return ()
    return tuple(name for name in self.settings.inputs if name != "frames") or ("pose",)

  def train_views(self) -> list[tuple[int, multi_view.View]]:
    """Place in `clips` and view of every fixed view of training, K a clip."""
    views = self.settings.views
    return [
      (i, multi_view.View(window=(k, views)))
      for i in range(len(self))
      for k in range(views)
    ]

  def eval_views(
    self, inferred: multi_view.Inference = multi_view.ONE_VIEW
  ) -> list[tuple[int, multi_view.View]]:
    """Place in `clips` and view of everything an evaluation scores, in order.

    A clip too short for K different windows has fewer.
    """
    shown = inferred.spatial_views(self._record_side)
    found = []
    for i, clip in enumerate(self.clips):
      starts = window_starts(clip["num_frames"], self.settings.num_frames)[1]
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
      fixed: whether it is one of `train_views`, rather than of `eval_views`.
    """
    drawn = _drawn_once(i, view) if fixed else None
    return self._example(i, None, view, drawn, ("frames",))["frames"]

  def _pose(self, i: int, view: multi_view.View = multi_view.MIDDLE) -> np.ndarray:
    """The pose [S, persons*J, 3] of the i-th clip; its frames are not decoded."""
    return self._example(i, None, view, inputs=("pose",))["pose"]

  @functools.cached_property
  def rest_pose(self) -> np.ndarray:
    """`pose_controls.rest_pose` of all clips, float32 [persons*J, 3]."""
    return pose_controls.rest_pose(self._pose(i) for i in range(len(self)))

  def _control_poses(
    self, names: set[str], views: list[tuple[int, multi_view.View]]
  ) -> Callable[[int, multi_view.View], Batch]:
    """(i, view) -> what stands for the pose of that clip, by the control's name.

    Args:
      names: of the controls.
      views: of the evaluation. The donor of a clip shows the same of its own windows,
        or its last when it has fewer.
    """
    made = {}
    if "rest" in names:
      shape = self.settings.pose_steps, *self.rest_pose.shape
      made["rest"] = np.broadcast_to(self.rest_pose, shape)
    if "shuffled" not in names:
      return lambda i, view: made
    donors = pose_controls.donors([clip["name"] for clip in self.clips])
    windows = {i: view.window[1] for i, view in views}

    def poses(i: int, view: multi_view.View) -> Batch:
      donor = int(donors[i])
      window = min(view.window[0], windows[donor] - 1), windows[donor]
      return {**made, "shuffled": self._pose(donor, multi_view.View(window=window))}

    return poses

  def train_batches(
    self,
    batch_size: int,
    seed: int,
    *,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    threads: int = 4,
    workers: int = 0,
  ) -> Iterator[Batch]:
    """Endless shuffled batches; every clip once an epoch, across batch borders.

    Args:
      batch_size: of all processes together.
      seed: of order and randomness.
      start: number of batches to leave out, the place in the data when resuming.
      shard: (this process, number of processes); each gets its block of the same global
        batches, in the order in which the mesh puts them together.
      threads: that read and decode in this process.
      workers: processes that read ahead; 0 uses the threads alone.
    Yields: `example` stacked: frames uint8 [B, F, H, W, 3], pose float32 [B, S, J, 3],
      label int32 [B]; and index int32 [B] (place in `clips`). With `features`, these
      float32 [B, T, M, N, C] in place of frames.
    Raises: ValueError for a batch_size that cannot be divided; from `next`, RecordError
      for a damaged record, OSError when a worker process died.
    """
    this, total = shard
    if batch_size % total:
      raise ValueError(
        f"batch_size is {batch_size}, expected a multiple of {total} processes."
      )
    dataset = (
      grain.MapDataset.source(range(len(self)))
      .seed(seed)
      .shuffle()
      .repeat(_EPOCHS)
      .random_map(self._train_example)
    )
    local = batch_size // total
    if total > 1:
      places = range(this * local, (this + 1) * local)
      dataset = grain.MapDataset.mix([dataset[p::batch_size] for p in places])
    dataset = dataset.batch(local)[start:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    stream = dataset.to_iter_dataset(options)
    if workers:
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
    with_controls: bool = False,
    shard: tuple[int, int] = (0, 1),
    threads: int = 4,
  ) -> Iterator[Batch]:
    """Every view of every clip once, in order; the last batch is padded.

    Args:
      batch_size: of all processes together.
      inferred: which views; by default one a clip. A clip too short for K different
        windows has fewer. And whose poses they come with.
      with_controls: whether batches also hold the poses of `pose_controls.CONTROLS`.
      shard, threads: as in `train_batches`.
    Yields: as `train_batches`, where index is that of the clip, and valid bool [B],
      False on padding; with controls also pose_shuffled and pose_rest, each as pose.
    Raises: RecordError from `next`, for a damaged record; with controls or poses that
      are not the clip's own also at once, and ValueError for a single clip.
    """
    this, total = shard
    local = batch_size // total
    views = self.eval_views(inferred)
    features = self.features.get(inferred)
    inputs = self._inputs_beside(features)
    rounds = -(-len(views) // batch_size)
    places = np.arange(rounds * batch_size)[this::total]
    asked = {*pose_controls.CONTROLS} if with_controls else set()
    needed = asked | {inferred.poses} if "pose" in self.settings.inputs else set()
    control_poses = self._control_poses(needed, views)

    def load(place: int) -> Batch:
      shown = min(place, len(views) - 1)
      i, view = views[shown]
      made = self._example(i, None, view, inputs=inputs)
      if features is not None:
        made["features"] = features[shown]
      poses = control_poses(i, view)
      made.update((f"pose_{name}", poses[name]) for name in asked & set(poses))
      if inferred.poses in poses:
        made["pose"] = poses[inferred.poses]
      return {**made, "index": np.int32(i), "valid": np.bool_(place == shown)}

    dataset = grain.MapDataset.source(places).map(load).batch(local)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(dataset.to_iter_dataset(options))


def _drawn_once(i: int, view: multi_view.View) -> np.random.Generator:
  """What draws the flip and the crop of a fixed view: the same for every run."""
  return np.random.default_rng((i, *view.window))


def _until_a_worker_dies(batches: Iterator[Batch]) -> Iterator[Batch]:
  """The batches; OSError in place of grain's error when a process of it is gone."""
  while True:
    try:
      batch = next(batches)
    except RuntimeError as e:
      if "process was terminated" not in str(e):
        raise
      raise OSError(
        f"a process that reads batches died ({e}); out of memory, most often: resume "
        "with fewer config.data.workers, or 0."
      ) from e
    yield batch


def open_parts(
  data,
  parts: tuple[str, ...] = ("train", "test"),
  *,
  may_lack: tuple[str, ...] = (),
) -> tuple[store.Index, dict[str, Part]]:
  """Opens `config.data`: the index and the asked parts of its protocol.

  Parts in `may_lack` are left out of the result when no prepared clip belongs to them.

  Raises: FileNotFoundError when nothing is prepared, ValueError for an empty part.
  """
  if not (pathlib.Path(data.records) / store.INDEX_FILE).exists():
    raise FileNotFoundError(
      f"no prepared {data.dataset} records in {data.records!r}. "
      f"{obtain.obtain(data.dataset)}"
    )
  index = store.read_index(data.records)
  if index.dataset != data.dataset:
    raise ValueError(
      f"{data.records} holds {index.dataset!r}, config.data.dataset is "
      f"{data.dataset!r}: point config.data.records at the right folder."
    )
  protocol = protocols.from_config(data, index.clips())
  settings = Settings(**data.example)
  opened = {}
  for part in parts:
    try:
      opened[part] = Part(data.records, index, protocol, part, settings)
    except EmptyPartError:
      if part not in may_lack:
        raise
  return index, opened
