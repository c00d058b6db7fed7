"""Your own videos in folders, `<class>/<clip>.mp4`, without an index.

The first folder is the class; folders below it may group the clips. Poses are estimated
from the video (`config.data.pose=mediapipe`) or read from `<clip>.npz` beside it, which
has the arrays `world` [F, J, 3], metres, and `image` [F, J, 2], fractions of width and
height (`joint_files.read_pair`).

Every clip has the attribute `split`. If the top folders are `train`, `test` and,
optionally, `validation`, with the classes inside, they determine it. Otherwise one clip
in five of each class is a test clip, chosen by a hash of its name, and people and
places appear in both parts: to separate them, extract them from the file names with a
pattern such as `(?P<subject>[a-z]+)_.*`, and split by that attribute.
"""

import hashlib
import os
import pathlib
import re

from vpn_jax.datasets import joint_files, protocols, skeletons, video
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.instructions import how_to_prepare

ENDINGS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
SPLITS = ("train", "test", "validation")
TEST_SHARE = 5  # one clip in this many is a test clip


class Folders:
  """Videos below one folder; a `base.Dataset`."""

  name = "custom"

  def __init__(
    self,
    root: str | pathlib.Path,
    skeleton: str,
    *,
    pattern: str = "",
    poses: bool = True,
  ):
    """Lists the folder; opens no video.

    Args:
      root: the folder.
      skeleton: of the npz files, name in `skeletons.SKELETONS`.
      pattern: regular expression for the file names without their endings; its named
        groups become attributes. Clips that it does not match are left out.
      poses: False when the poses come from elsewhere; then clips need no npz and cannot
        be `read`.
    Raises: FileNotFoundError without the folder or a video in it; ValueError for an
      invalid pattern.
    """
    self.root = pathlib.Path(root)
    self.body = skeletons.get(skeleton)
    self.skeleton = self.body.name
    self.poses = poses
    self.source = {"pattern": pattern}
    try:
      self._pattern = re.compile(pattern) if pattern else None
    except re.error as e:
      raise ValueError(
        f"config.data.pattern is {pattern!r}, which is not a regular expression: {e}."
      ) from e
    if not self.root.is_dir():
      raise FileNotFoundError(f"no folder {root}. {how_to_prepare('custom')}")
    self._clips, self._left_out = self._list()

  def _list(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    found: dict[str, pathlib.Path] = {}
    left_out = []
    for path in self._videos():
      relative = path.relative_to(self.root)
      name = relative.with_suffix("").as_posix()
      if not name.isprintable():  # would break lists of clips, which are lines
        left_out.append((repr(name), "its name has characters that cannot be printed"))
      elif len(relative.parts) == 1:
        left_out.append((name, "it lies in no class folder"))
      elif name in found:
        left_out.append((relative.as_posix(), f"{found[name].name} has the same name"))
      else:
        found[name] = path
    if not found:
      raise FileNotFoundError(
        f"no video {' '.join(ENDINGS)} in any class folder of {self.root}, expected "
        f"<class>/<clip>.mp4. {how_to_prepare('custom')}"
      )
    firsts = {name.split("/")[0] for name in found}
    given = firsts <= set(SPLITS) and "train" in firsts
    entries = []
    for name, path in sorted(found.items()):
      split, _, rest = name.partition("/") if given else ("", "", name)
      if "/" not in rest:
        left_out.append((name, f"it lies in {split}, but in no class folder there"))
        continue
      match = self._pattern.fullmatch(path.stem) if self._pattern else None
      if self._pattern and not match:
        left_out.append((name, "its file name does not match config.data.pattern"))
      elif self.poses and not path.with_suffix(".npz").is_file():
        left_out.append(
          (name, "no npz of joints beside it; --config.data.pose=mediapipe makes some")
        )
      else:
        groups = match.groupdict() if match else {}
        attributes = {
          k: protocols.parse_value(v) for k, v in groups.items() if v is not None
        }
        entries.append((name, rest.split("/")[0], {**attributes, "split": split}, path))
    self.class_names = tuple(sorted({label for _, label, _, _ in entries}))
    tests = set() if given else _test_names(entries)
    clips = []
    for name, label, attributes, path in entries:
      if not given:
        attributes["split"] = "test" if name in tests else "train"
      clips.append(
        Clip(
          name,
          self.class_names.index(label),
          attributes,
          str(path),
          str(path.with_suffix(".npz")) if self.poses else None,
        )
      )
    return clips, left_out

  def _videos(self) -> list[pathlib.Path]:
    """All videos in order of their paths, without hidden files and folders."""
    paths = []
    for folder, subfolders, files in os.walk(self.root):
      subfolders[:] = [f for f in subfolders if not f.startswith(".")]
      paths += [
        pathlib.Path(folder, file)
        for file in files
        if file.lower().endswith(ENDINGS) and not file.startswith(".")
      ]
    return sorted(paths)

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; in order of their names, which are paths below the root."""
    return list(self._clips), list(self._left_out)

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`."""
    if clip.pose is None:
      raise BadClip("it has no joints; --config.data.pose=mediapipe makes some")
    header = video.probe(clip.video)
    pose, image_joints, visibility = joint_files.read_pair(
      clip.pose, self.body, units="fraction", width=header.width, height=header.height
    )
    return RawClip(
      pose,
      image_joints,
      lambda: video.read_frames(clip.video),
      header.fps,
      visibility,
    )


def _test_names(entries) -> set[str]:
  """Chooses one clip in five of each class, at least one if it has two."""
  by_class: dict[str, list[str]] = {}
  for name, label, _, _ in entries:
    by_class.setdefault(label, []).append(name)
  tests: set[str] = set()
  for names in by_class.values():
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    tests.update(names[: max(round(len(names) / TEST_SHARE), int(len(names) > 1))])
  return tests
