"""Features of the frozen layers of a visual backbone, kept beside the records.

The output of the last layer that does not train is the same for a view in every epoch.
Here it is computed once for every view and written to files, which training and
evaluation read instead of frames. The folder is named by a digest of all that the
features depend on, so that those of other records, weights, views or code are never
read. With the whole backbone frozen, these features are f.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator

import grain
import jax
import numpy as np
import tqdm
from jax.experimental import multihost_utils

from vpn_jax import device_mesh, files, ops
from vpn_jax.inputs import (
  example,
  multi_view,
  pipeline,
  regions,
  sampling,
)
from vpn_jax.models import backbones, trunk
from vpn_jax.records import store

ABOUT_FILE = "about.json"
# A file is made at once or not at all. It has about this size, and a number of views
# that usual batches divide.
_FILE_BYTES, _MULTIPLE = 64 * 2**20, 64
# What turns a record into pixels, beside `regions`.
_PIXELS = (
  sampling.window_starts,
  sampling.frame_window,
  example.cuts,
  example.make,
  multi_view.View.part,
)


@dataclasses.dataclass(frozen=True)
class Features:
  """Features of n views in files, a sequence of float32 [T, M, N, C].

  Attributes:
    folder: where the files are.
    count: n.
    shape: (T, M, N, C).
    per_file: views in each file but the last.
  """

  folder: pathlib.Path
  count: int
  shape: tuple[int, int, int, int]
  per_file: int

  @functools.cached_property
  def _files(self) -> list[np.ndarray]:
    numbers = range(-(-self.count // self.per_file))
    return [np.load(_path(self.folder, n), mmap_mode="r") for n in numbers]

  def __len__(self) -> int:
    return self.count

  def __getitem__(self, i: int) -> np.ndarray:
    if not 0 <= i < self.count:
      raise IndexError(f"got view {i}, expected 0 to {self.count - 1}.")
    number, row = divmod(i, self.per_file)
    return np.array(self._files[number][row])


def _path(folder: pathlib.Path, number: int) -> pathlib.Path:
  return folder / f"{number:05d}.npy"


def check(fields: dict, network: str, views: int) -> None:
  """ValueError unless features of a network are the same in every epoch.

  Args:
    fields: `config.model`.
    network: `config.network`.
    views: fixed views of a training clip.
  """
  if network != "vpn":
    raise ValueError(
      f"config.features.cached is True and the network is {network!r}, expected 'vpn', "
      "which has one visual backbone: set config.features.cached to False."
    )
  if not fields["frozen_until"] or fields["non_local"]:
    raise ValueError(
      "config.features.cached is True, but the whole visual backbone trains "
      f"(config.model.frozen_until is {fields['frozen_until']!r}, non_local "
      f"{tuple(fields['non_local'])}): name the last layer that does not train, or ask "
      "for frozen=True behind the protocol."
    )
  if views < 1:
    raise ValueError(
      f"config.data.example.views is {views}, expected 1 or more fixed views of each "
      "training clip whose features are kept."
    )


def provide(
  model,
  config,
  data: dict[str, pipeline.Part],
  index: store.Index,
  state,
  say: Callable[[str], None],
  watched: Callable[[Iterable], Iterator] = iter,
):
  """Gives the parts of the data the features of every view that a run shows.

  Args:
    model: the network, with its visual backbone.
    config: of the run.
    data: the parts by name.
    index: of the records.
    state: a `train_step.TrainState`.
    say, watched: as in `load_or_compute`.
  Returns: the network that takes the features.
  Raises: as `check` and `load_or_compute`.
  """
  fields = config.model.to_dict()
  check(fields, config.network, config.data.example.views)
  layer = fields["frozen_until"]
  folder = config.features.folder or pathlib.Path(config.data.records) / "features"
  variables = jax.device_get(state.variables())
  variables = {
    name: backbones.until(fields["backbone"], tree["backbone"], layer)
    for name, tree in variables.items()
  }
  for name, part in data.items():
    wanted = {None} if name == "train" else {multi_view.ONE_VIEW}
    if name == "test":
      wanted |= {multi_view.Inference(**config.inference)}
    for views in wanted:
      part.features[views] = load_or_compute(
        part,
        views,
        folder=folder,
        index_digest=index.digest(),
        fields={**fields, "endpoint": layer},
        variables=variables,
        batch_size=config.train.eval_batch_size,
        threads=config.data.threads,
        say=say,
        watched=watched,
      )
  return reader(model)


def reader(model):
  """The network that takes the features instead of frames."""
  return model.clone(from_features=True, features_of=model.frozen_until)


def digest_of_weights(variables: dict) -> str:
  """SHA-256 of a tree of arrays: names, types, shapes and values."""
  found = hashlib.sha256()
  for path, x in jax.tree_util.tree_leaves_with_path(jax.device_get(variables)):
    x = np.ascontiguousarray(x)
    found.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}".encode())
    found.update(x.tobytes())
  return found.hexdigest()


def digest_of_code(backbone: str) -> str:
  """SHA-256 of the source that turns a record into f."""
  module = sys.modules[backbones.get(backbone).module.__module__]
  files = [module.__file__, backbones.__file__, trunk.__file__, regions.__file__]
  files += sorted(pathlib.Path(ops.__file__).parent.glob("*.py"))
  found = hashlib.sha256()
  for file in map(pathlib.Path, files):
    found.update(file.name.encode() + file.read_bytes())
  for function in _PIXELS:
    found.update(inspect.getsource(function).encode())
  return found.hexdigest()


def _about(
  part: pipeline.Part,
  inferred: multi_view.Inference | None,
  fields: dict,
  variables: dict,
  index_digest: str,
  per_file: int,
) -> dict:
  """All that the features of a part depend on, and how they are kept."""
  settings = dataclasses.asdict(part.settings)
  names = ("num_frames", "frame_size", "region", "hand_size")
  shown = {name: settings[name] for name in names}
  if inferred is None:
    shown |= {name: settings[name] for name in ("views", "flip", "crop")}
  clips = "\n".join(clip["name"] for clip in part.clips)
  return {
    "records": index_digest,
    "clips": hashlib.sha256(clips.encode()).hexdigest(),
    "shown": shown,
    "inference": inferred and [inferred.windows, inferred.views, inferred.size],
    "network": {
      name: fields[name] for name in ("backbone", "width", "endpoint", "dtype")
    },
    "weights": digest_of_weights(variables),
    "code": digest_of_code(fields["backbone"]),
    "platform": jax.devices()[0].platform,
    "views_per_file": per_file,
  }


@functools.cache
def _backbone(name: str, width: float, endpoint: str, dtype: str) -> Callable:
  """Jitted (variables, frames uint8 [B, F, H, W, 3]) -> f float32 [B, T, M, N, C]."""
  chosen = backbones.get(name)
  module = chosen.module(width=width, final_endpoint=endpoint, dtype=dtype)

  @jax.jit
  def apply(variables, frames):
    x = chosen.normalize_frames(frames).astype(dtype)
    return module.apply(variables, x, train=False)[0].astype("float32")

  return apply


def load_or_compute(
  part: pipeline.Part,
  inferred: multi_view.Inference | None,
  *,
  folder: str | pathlib.Path,
  index_digest: str,
  fields: dict,
  variables: dict,
  batch_size: int,
  threads: int = 4,
  say: Callable[[str], None] = lambda line: None,
  watched: Callable[[Iterable], Iterator] = iter,
) -> Features:
  """The features of every view of a part, computed where they are not there yet.

  A run that was stopped goes on after the last whole file. Several processes divide the
  files among them, in a folder that all of them see.

  Args:
    part: whose views.
    inferred: views of an evaluation, `Part.eval_views`; None for `Part.train_views`.
    folder: of the features of all networks and parts.
    index_digest: of the records.
    fields: `config.model`, with the layer of the features as `endpoint`.
    variables: {"params", "batch_stats"} of the layers up to it.
    batch_size: clips at a time, a multiple of the devices of this process.
    threads: that decode frames.
    say: receives a line with the size before anything is written.
    watched: passes batches on, and raises on a request to stop.
  Raises: OSError when the disk has too little space.
  """
  fixed = inferred is None
  views = part.train_views() if fixed else part.eval_views(inferred)
  names = ("backbone", "width", "endpoint", "dtype")
  backbone = _backbone(*(fields[name] for name in names))
  apply = functools.partial(backbone, jax.device_put(variables))
  some = part.frames_of(*views[0], fixed=fixed)
  shape = jax.eval_shape(apply, some[None]).shape[1:]
  per_file = _FILE_BYTES // (4 * math.prod(shape)) // _MULTIPLE * _MULTIPLE
  per_file = max(_MULTIPLE, per_file)

  about = _about(part, inferred, fields, variables, index_digest, per_file)
  text = json.dumps(about, indent=1, sort_keys=True)
  key = hashlib.sha256(text.encode()).hexdigest()[:16]
  folder = pathlib.Path(folder) / key
  wanted = [_path(folder, n) for n in range(-(-len(views) // per_file))]
  lacking = [n for n, path in enumerate(wanted) if not path.exists()]
  if lacking:
    gigabytes = 4 * math.prod(shape) * len(views) / 1e9
    say(
      f"features: {len(views)} views of {list(shape)} float32, {gigabytes:.2f} GB in "
      f"{folder}"
    )
    _check_space(folder, 4 * math.prod(shape) * per_file * len(lacking))
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / ABOUT_FILE, text + "\n")
    # By number, since another process may have begun before this one looked.
    mine = [n for n in lacking if n % jax.process_count() == jax.process_index()]
    _compute(
      part, views, fixed, apply, mine, per_file, folder, batch_size, threads, watched
    )
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(f"features {key}")
  return Features(folder, len(views), shape, per_file)


def _check_space(folder: pathlib.Path, needed: int) -> None:
  at = next(path for path in (folder, *folder.parents) if path.exists())
  free = shutil.disk_usage(at).free
  if needed > free:
    raise OSError(
      f"the features take {needed / 1e9:.1f} GB, {at} has {free / 1e9:.1f} GB free: "
      "set config.features.folder to a larger disk, lower config.data.example.views, "
      "or set config.features.cached to False."
    )


def _compute(
  part, views, fixed, apply, numbers, per_file, folder, batch_size, threads, watched
) -> None:
  """Writes these files, each at once."""
  devices = jax.local_devices()
  placed = device_mesh.split(jax.sharding.Mesh(np.array(devices), ("data",)))

  def load(place: int) -> np.ndarray:
    return part.frames_of(*views[place], fixed=fixed)

  total = sum(min(per_file, len(views) - n * per_file) for n in numbers)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
  with tqdm.tqdm(
    total=total,
    unit="clip",
    desc="features",
    mininterval=15.0,
    disable=jax.process_index() > 0,
  ) as bar:
    for number in numbers:
      first = number * per_file
      places = range(first, min(first + per_file, len(views)))
      # The last batch of a file is filled up, so that there is one shape to compile.
      padded = [*places, *[places[-1]] * (-len(places) % batch_size)]
      dataset = grain.MapDataset.source(padded).map(load).batch(batch_size)
      found = []
      for frames in watched(dataset.to_iter_dataset(options)):
        found.append(np.asarray(apply(jax.device_put(frames, placed))))
        bar.update(min(batch_size, len(places) - (len(found) - 1) * batch_size))
      unfinished = folder / f".{number:05d}.{os.getpid()}.npy"
      np.save(unfinished, np.concatenate(found)[: len(places)])
      unfinished.replace(_path(folder, number))
