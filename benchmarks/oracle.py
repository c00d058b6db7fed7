r"""Prints whether the frames of synthetic clips distinguish the pairs of objects.

python -m benchmarks.oracle --config=configs/synthetic.py:cs \
    --config.data.num_clips=7000
python -m benchmarks.oracle --config=configs/synthetic.py:cs --probe  # frozen I3D too

Two actions of such a pair differ in the object in hand alone (`generator.LOOK_ALIKES`).
The oracle is a small network that is shown where the object is: a patch around its true
position. It is an upper bound of what any attention can find. Poses alone, on the
same split, must stay at chance. The probes are linear classifiers on frozen features of
the whole frames.

Clips are made as the job "prepare" makes them, JPEG included, and sampled as for
evaluation; nothing is written. Only the classes of these pairs are made: 4 of 14.
"""

import collections
import dataclasses
import functools
import multiprocessing
import time
from collections.abc import Iterator

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import sklearn.ensemble
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
from absl import app, flags
from ml_collections import config_flags

from vpn_jax.datasets import base, protocols, registry, skeletons
from vpn_jax.datasets.synthetic import generator, synthetic_dataset
from vpn_jax.inputs import example, sampling
from vpn_jax.models import i3d
from vpn_jax.records import crop, make_record
from vpn_jax.weights import pretrained

PAIRS = generator.LOOK_ALIKES["same motion, other object"]
PATCH = 32  # pixels
ENDPOINTS = ("Mixed_3c", "Mixed_4f", "Mixed_5c")


@dataclasses.dataclass(frozen=True)
class Example:
  """A clip of a pair as the network sees it, and where its object is.

  Attributes:
    label: index into `generator.CLASSES`.
    trains: whether it belongs to the training part of the protocol.
    frames: uint8 [F, H, W, 3].
    pose: float32 [S, J, 3], metres.
    position: x, y of the centre of the object in pixels of `frames`, float [F, 2].
  """

  label: int
  trains: bool
  frames: np.ndarray
  pose: np.ndarray
  position: np.ndarray


# ---- clips


class Remembering(synthetic_dataset.Synthetic):
  """Keeps the clip that it read last, for its truth."""

  last: generator.SyntheticClip

  def make(self, clip: base.Clip) -> generator.SyntheticClip:
    """See `synthetic_dataset.Synthetic`."""
    self.last = super().make(clip)
    return self.last


def make_example(
  clip: base.Clip,
  dataset: Remembering,
  recipe: dict,
  settings: example.Settings,
  protocol: protocols.Protocol,
) -> Example:
  """Makes, crops, compresses and samples one clip, with the truth beside it."""
  record = make_record.make_record(dataset, clip, recipe)
  made = example.make(record, settings, skeletons.get(dataset.skeleton), None)
  window = sampling.frame_window(len(record.frames), settings.num_frames, None)
  position = crop.to_crop(
    dataset.last.object_position[:, None, None], record.boxes, settings.frame_size
  )
  trains = protocols.part(protocol, clip.attributes) == "train"
  return Example(
    clip.label, trains, made["frames"], made["pose"], position[window, 0, 0]
  )


def examples(config, workers: int = 2) -> Iterator[Example]:
  """Yields the clips of `PAIRS` among the first `config.data.num_clips`, in order.

  Args:
    config: of `configs/synthetic.py`.
    workers: processes; 0 makes them in this one.
  """
  dataset = registry.open_dataset(config.data)
  dataset = Remembering(dataset.seed, dataset.num_clips, dataset.settings)
  labels = [generator.CLASSES.index(name) for pair in PAIRS for name in pair]
  clips = [clip for clip in dataset.clips()[0] if clip.label in labels]
  settings = config.prepare
  about = {name: settings[name] for name in ("size", "slack", "head_room", "moving")}
  recipe = {**crop.recipe(**about), "jpeg_quality": settings.jpeg_quality}
  make = functools.partial(
    make_example,
    dataset=dataset,
    recipe=recipe,
    settings=example.Settings(**config.data.example),
    protocol=protocols.PROTOCOLS["synthetic", config.data.protocol],
  )
  if not workers:
    yield from map(make, clips)
    return
  context = multiprocessing.get_context("spawn")
  with context.Pool(workers, cv2.setNumThreads, (1,)) as pool:
    yield from pool.imap(make, clips, chunksize=4)


def patches(example: Example, size: int = PATCH) -> np.ndarray:
  """Squares around the object, uint8 [F, size, size, 3].

  Where they reach beyond the frame, the frame's edge is repeated.
  """
  corner = np.round(example.position).astype(int) - size // 2
  cut = [
    crop.crop_and_resize(frame, (x, y, x + size, y + size), size)
    for frame, (x, y) in zip(
      example.frames, np.clip(corner, 1 - size, example.frames.shape[1] - 1)
    )
  ]
  return np.stack(cut)


# ---- the oracle


class Oracle(nn.Module):
  """A small network on patches: three convolutions, the mean over pixels and frames."""

  features: tuple[int, ...] = (16, 32, 32)

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps pixels float [B, F, P, P, 3] in -1 to 1 to logits [B, 2]."""
    for features in self.features:
      x = nn.relu(nn.Conv(features, (3, 3), padding="SAME")(x))
      x = nn.max_pool(x, (1, 2, 2), (1, 2, 2))
    x = x.mean(axis=1).reshape(len(x), -1)
    return nn.Dense(2)(nn.relu(nn.Dense(64)(x)))


def oracle_accuracy(
  x: np.ndarray, y: np.ndarray, trains: np.ndarray, *, steps: int = 400, seed: int = 0
) -> float:
  """Trains `Oracle` on one part of the patches, and returns its accuracy on the other.

  Args:
    x: uint8 [N, F, P, P, 3].
    y: 0 or 1, int [N].
    trains: which clips train, bool [N].
    steps: of Adam at 0.001, which falls to 0, with batches of 16 clips: four of their
      frames, mirrored and shifted by up to two pixels at random.
    seed: of weights and batches.
  """
  model, rng = Oracle(), np.random.default_rng(seed)
  optimizer = optax.adamw(optax.cosine_decay_schedule(1e-3, steps), weight_decay=1e-3)
  variables = model.init(jax.random.key(seed), jnp.zeros((1, *x.shape[1:])))
  opt_state = optimizer.init(variables)

  @jax.jit
  def forward(variables, pixels):
    return model.apply(variables, i3d.normalize_frames(pixels))

  @jax.jit
  def step(variables, opt_state, pixels, labels):
    def loss(variables):
      losses = optax.softmax_cross_entropy_with_integer_labels(
        forward(variables, pixels), labels
      )
      return losses.mean()

    updates, opt_state = optimizer.update(
      jax.grad(loss)(variables), opt_state, variables
    )
    return optax.apply_updates(variables, updates), opt_state

  ours = np.flatnonzero(trains)
  for _ in range(steps):
    chosen = rng.choice(ours, 16)
    frames = np.sort(rng.permutation(x.shape[1])[:4])
    pixels = x[chosen[:, None], frames]
    pixels = np.roll(pixels, rng.integers(-2, 3, 2), axis=(2, 3))
    pixels = pixels[:, :, :, ::-1] if rng.random() < 0.5 else pixels
    variables, opt_state = step(
      variables, opt_state, pixels, y[chosen].astype(np.int32)
    )
  theirs = np.flatnonzero(~trains)
  logits = [
    forward(variables, x[part])
    for part in np.array_split(theirs, max(1, len(theirs) // 32))
  ]
  return float(np.mean(np.concatenate(logits).argmax(-1) == y[theirs]))


# ---- poses alone, and frozen features


def classifiers(seed: int = 0) -> dict:
  """The classifiers on vectors, by name."""
  scaled = functools.partial(
    sklearn.pipeline.make_pipeline, sklearn.preprocessing.StandardScaler()
  )
  return {
    "linear": scaled(sklearn.linear_model.LogisticRegression(C=1e-2, max_iter=2000)),
    "kernel": scaled(sklearn.svm.SVC(C=3.0)),
    "forest": sklearn.ensemble.RandomForestClassifier(300, random_state=seed),
  }


def accuracy(classifier, x, y, trains) -> float:
  """Accuracy on the clips that do not train; `x` [N, ...] is flattened."""
  x = np.asarray(x, np.float32).reshape(len(x), -1)
  classifier.fit(x[trains], y[trains])
  return float(classifier.score(x[~trains], y[~trains]))


def load_features():
  """Frozen I3D: a function from frames uint8 [F, H, W, 3] to {endpoint: [T, M, N, C]}.

  The weights are the published ones of Kinetics.
  """
  variables, _ = pretrained.load_i3d(include_head=False)
  variables = jax.device_put(variables)

  @jax.jit
  def features(frames):
    _, out = i3d.I3D().apply(variables, i3d.normalize_frames(frames[None]))
    return {name: out[name][0] for name in ENDPOINTS}

  return lambda frames: jax.tree.map(np.asarray, features(frames))


def pooled(features: np.ndarray, example: Example) -> dict[str, np.ndarray]:
  """What a linear classifier may see of f, [T, M, N, C].

  Returns: "mean" over the map [C], as in front of the classifier of I3D; "grid" [M, N,
    C], the mean over time alone; "at the object" [C], the mean over time of the cell
    that the object is in: a spatial attention that is right.
  """
  steps, height, width, _ = features.shape
  time = (np.arange(steps) * 2 + 1) * len(example.position) // (2 * steps)
  x, y = example.position[time].T / example.frames.shape[1]
  column = np.clip(np.floor(x * width), 0, width - 1).astype(int)
  row = np.clip(np.floor(y * height), 0, height - 1).astype(int)
  return {
    "mean": features.mean((0, 1, 2)),
    "grid": features.mean(0),
    "at the object": features[np.arange(steps), row, column].mean(0),
  }


# ---- the program


def report(name: str, figures: list[float], numbers: np.ndarray) -> None:
  """Prints the accuracy in each pair, with its binomial standard error."""
  cells = [
    f"{100 * p:5.1f} +- {100 * np.sqrt(max(p * (1 - p), 0.01) / n):.1f}"
    for p, n in zip(figures, numbers, strict=True)
  ]
  print(f"{name:34}" + "".join(f"{cell:>34}" for cell in cells), flush=True)


def measure(config, *, probe: bool, workers: int, seeds: int, steps: int = 400) -> None:
  """Makes the clips, and prints one line per classifier, one column per pair."""
  data = collections.defaultdict(list)
  features = load_features() if probe else None
  start = time.perf_counter()
  for made in examples(config, workers):
    data["label"].append(made.label)
    data["trains"].append(made.trains)
    data["pose"].append(made.pose)
    data["patches"].append(patches(made))
    if probe:
      for endpoint, f in features(made.frames).items():
        for name, x in pooled(f, made).items():
          data[f"{endpoint}, {name}"].append(x)
  data = {name: np.stack(x) for name, x in data.items()}
  label, trains = data.pop("label"), data.pop("trains")
  of_pair = [np.isin(label, [generator.CLASSES.index(c) for c in p]) for p in PAIRS]
  tested = np.array([np.sum(mine & ~trains) for mine in of_pair])
  print(
    f"{len(label)} clips in {time.perf_counter() - start:.0f} s, "
    f"{config.data.example.num_frames} frames of {config.data.example.frame_size} "
    f"pixels; accuracy in % of the test clips and its standard error"
  )
  print(f"{'':34}" + "".join(f"{' / '.join(pair):>34}" for pair in PAIRS))
  trained = [int(np.sum(mine & trains)) for mine in of_pair]
  print(
    f"{'clips, train / test':34}"
    + "".join(f"{f'{a} / {b}':>34}" for a, b in zip(trained, tested))
  )

  def each_pair(function, x):
    return [
      function(x[mine], (label[mine] == label[mine].max()).astype(int), trains[mine])
      for mine in of_pair
    ]

  for seed in range(seeds):
    made = each_pair(
      functools.partial(oracle_accuracy, seed=seed, steps=steps), data["patches"]
    )
    report(f"oracle, seed {seed}", made, tested)
  for name, classifier in classifiers().items():
    made = each_pair(functools.partial(accuracy, classifier), data["pose"])
    report(f"poses alone, {name}", made, tested)
  for name in sorted(set(data) - {"pose", "patches"}):
    made = each_pair(functools.partial(accuracy, classifiers()["linear"]), data[name])
    report(f"frozen {name}", made, tested)


def main(_) -> None:
  measure(_CONFIG.value, probe=_PROBE.value, workers=_WORKERS.value, seeds=_SEEDS.value)


if __name__ == "__main__":
  _CONFIG = config_flags.DEFINE_config_file("config", "configs/synthetic.py:cs")
  _PROBE = flags.DEFINE_bool("probe", False, "also the frozen features of I3D")
  _WORKERS = flags.DEFINE_integer("workers", 2, "processes that make clips")
  _SEEDS = flags.DEFINE_integer("seeds", 1, "of the oracle")
  app.run(main)
