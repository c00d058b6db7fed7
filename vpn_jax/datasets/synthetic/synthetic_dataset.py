"""The synthetic clips of `generator.py` as a raw dataset, without files."""

import dataclasses

from vpn_jax.datasets.base import Clip, Origin, RawClip
from vpn_jax.datasets.synthetic import generator


class Synthetic:
  """`num_clips` synthetic clips; a `base.Dataset`."""

  name = "synthetic"
  skeleton = "kinect_v2"

  def __init__(
    self,
    seed: int,
    num_clips: int,
    settings: generator.Settings,
    *,
    frames: bool = True,
  ):
    """Clip i depends on `seed` and `settings`, not on `num_clips`.

    Args:
      frames: False for the poses alone.
    """
    if num_clips < 1:
      raise ValueError(f"config.data.num_clips is {num_clips}, expected 1 or more.")
    self.seed = seed
    self.num_clips = num_clips
    self.settings, self.frames = settings, frames
    self.class_names = tuple(generator.CLASSES)
    self.source = {"seed": seed, **dataclasses.asdict(settings)}

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; in the order of their index."""
    clips = []
    for i in range(self.num_clips):
      label, subject, camera = generator.attributes(i, self.settings)
      attributes = {"subject": int(subject), "camera": int(camera)}
      name = generator.clip_name(i, self.settings)
      clips.append(Clip(name, int(label), attributes, pose=str(i)))
    return clips, []

  def origin(self, clip: Clip) -> Origin:
    """See `base.origin`; nothing but `source`."""
    del clip
    return Origin({})

  def make(self, clip: Clip) -> generator.SyntheticClip:
    """The clip with its ground truth, rendered unless frames are left out."""
    number = int(clip.pose)
    return generator.make_clip(self.seed, number, self.settings, render=self.frames)

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; one person."""
    made = self.make(clip)
    return RawClip(
      made.pose[:, None],
      made.image_joints[:, None],
      (lambda: iter(made.frames)) if self.frames else None,
      float(self.settings.fps),
    )
