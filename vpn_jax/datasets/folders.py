"""Your own clips in folders, `<class>/<clip>.mp4`, without an index.

The first folder is the class; folders below it may group the clips. Poses are estimated
from the video (`config.data.pose=mediapipe`) or read from `<clip>.npz` beside it, which
has the arrays `world` [F, J, 3], metres, and `image` [F, J, 2], fractions of width and
height (`clip_joints.read_npz`). The file of a pose estimator may take its place,
`<clip>.json`, or a folder `<clip>/` with a file per frame, see `pose_files`. Without
frames (`config.data.frames=False`, as model=pose sets it), the files of joints alone
are the clips.

Every clip has the attribute `split`. Folders named `train`, `test` and `validation`, or
by other usual names of these parts, around the classes or inside each, determine it
(`folder_layout`). Otherwise one clip in five of each class is a test clip, chosen by a
hash of its name, and people and places appear in both parts: to separate them, extract
them from the file names with a pattern such as `(?P<subject>[a-z]+)_.*`, and split by
that attribute.
"""

import collections
import dataclasses
import functools
import hashlib
import pathlib
import re

from vpn_jax.datasets import (
  alignment,
  clip_joints,
  folder_layout,
  joint_files,
  paired_files,
  protocols,
  skeleton_files,
  spellings,
  video,
)
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.instructions import how_to_prepare
from vpn_jax.datasets.pose_files import reader

# Of videos; upper case is accepted, too.
ENDINGS = (
  ".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".3gp", ".3g2", ".wmv", ".asf",
  ".flv", ".f4v", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".mxf",
  ".ogv", ".dv", ".gif",
)  # fmt: skip
TEST_SHARE = 5  # one clip in this many is a test clip


class Folders:
  """Videos or files of joints below one folder; a `base.Dataset`."""

  name = "custom"

  def __init__(
    self,
    root: str | pathlib.Path,
    skeleton: str,
    *,
    pattern: str = "",
    poses: bool = True,
    frames: bool = True,
    image_units: str = "fraction",
    pose_format: str = "",
    image_size: str = "",
  ):
    """Lists the folder; opens no video.

    Args:
      root: the folder.
      skeleton: of the files of joints, name in `skeletons.SKELETONS` or a JSON file.
      pattern: regular expression for the file names without their endings; its named
        groups become attributes. Clips that it does not match are left out.
      poses: False when the poses come from elsewhere; then clips need no npz and cannot
        be `read`.
      frames: False for joints alone: clips need no video. The header of one that is
        there gives the size of the image and the frame rate.
      image_units: of image joints in npz files: "fraction" (0 to 1) or "pixel".
      pose_format: of JSON files and folders of frames, one of
        `pose_files.reader.KINDS`; "" to detect it.
      image_size: such as "1920x1080", for fractions without a video.
    Raises: FileNotFoundError without the folder or a clip in it; ValueError for an
      invalid pattern.
    """
    self.root = pathlib.Path(root)
    self.body = skeleton_files.find(skeleton)
    self.skeleton = self.body.name
    self.poses, self.frames = poses, frames
    self.image_units = joint_files.check_units(image_units, "config.data.image_units")
    self.pose_format = reader.check_kind(pose_format)
    self.image_size = clip_joints.parse_size(image_size)
    self.source = {"pattern": pattern}
    for field, value, default in (
      ("image_units", image_units, "fraction"),
      ("pose_format", pose_format, ""),
      ("image_size", image_size, ""),
    ):
      if value != default:  # earlier folders of records have no such field
        self.source[field] = value
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
    below = files_below(self.root, depth=2)
    found, left_out = self._named(below)
    layout = folder_layout.find(
      (path.relative_to(self.root).parts for path in found.values()), str(self.root)
    )
    self.notes = layout.notes()
    if below.others:
      self.notes.append(f"not used: {_in_words(below.others)}")
    videos = {_stem(path): path for path in reversed(below.videos)}
    joints = {_stem(path): path for path in reversed(below.joints)}
    left_out += self._lone(videos, joints)
    if not self.poses:
      joints = {}
    entries = []
    for name, path in sorted(found.items()):
      try:
        split, folder = layout.place(path.relative_to(self.root).parts)
      except BadClip as e:
        left_out.append((name, str(e)))
        continue
      file = _stem(path)
      match = self._pattern.fullmatch(file.name) if self._pattern else None
      if self._pattern and not match:
        left_out.append((name, "its file name does not match config.data.pattern"))
      elif self.poses and file not in joints:
        left_out.append(
          (name, "no npz of joints beside it; --config.data.pose=mediapipe makes some")
        )
      else:
        groups = match.groupdict() if match else {}
        attributes = {
          k: protocols.parse_value(v) for k, v in groups.items() if v is not None
        }
        entries.append((name, folder, {**attributes, "split": split}, file))
    left_out += self._empty(below, layout)
    names, lines = spellings.join(label for _, label, _, _ in entries)
    self.notes += lines
    entries = [(name, names[label], *rest) for name, label, *rest in entries]
    self.class_names = tuple(sorted({label for _, label, _, _ in entries}))
    given = "part" in layout.order
    tests = set() if given else _test_names(entries)
    if given:
      self.notes += _lacking({attributes["split"] for _, _, attributes, _ in entries})
    clips = []
    for name, label, attributes, file in entries:
      if not given:
        attributes["split"] = "test" if name in tests else "train"
      paths = (
        str(found[file]) if file in found else None for found in (videos, joints)
      )
      clips.append(Clip(name, self.class_names.index(label), attributes, *paths))
    return clips, left_out

  def _named(
    self, below: "FilesBelow"
  ) -> tuple[dict[str, pathlib.Path], list[tuple[str, str]]]:
    """The files of clips by the names of these, and (name, reason) of the others.

    Raises: FileNotFoundError when there is none.
    """
    found: dict[str, pathlib.Path] = {}
    left_out = []
    for path in below.videos if self.frames else below.joints:
      relative = path.relative_to(self.root)
      name = _stem(relative).as_posix()
      if not name.isprintable():  # would break lists of clips, which are lines
        left_out.append((repr(name), "its name has characters that cannot be printed"))
      elif len(relative.parts) == 1:
        left_out.append((name, "it lies in no class folder"))
      elif name in found:
        left_out.append((relative.as_posix(), f"{found[name].name} has the same name"))
      else:
        found[name] = path
    if found:
      return found, left_out
    kind = f"video {' '.join(ENDINGS)}"
    if not self.frames:
      kind = f"file of joints {' '.join(clip_joints.READERS)} or folder of frames"
    others = f"; it holds {_in_words(below.others)}" if below.others else ""
    raise FileNotFoundError(
      f"no {kind} in any class folder of {self.root}, expected "
      f"<class>/<clip>{'.mp4' if self.frames else '.npz'}{others}. "
      f"{how_to_prepare('custom')}"
    )

  def _lone(self, videos: dict, joints: dict) -> list[tuple[str, str]]:
    """(name, reason) of videos without joints, or of joints without a video."""
    lone, reason = sorted(joints.keys() - videos.keys()), "no video beside its joints"
    if not self.frames:
      lone, reason = sorted(videos.keys() - joints.keys()), "no joints beside the video"
    elif not self.poses:
      lone = []
    return [(path.relative_to(self.root).as_posix(), reason) for path in lone]

  def _empty(
    self, below: "FilesBelow", layout: folder_layout.Layout
  ) -> list[tuple[str, str]]:
    """(name, reason) of folders of parts and classes in which there is no clip."""
    files = [*below.videos, *below.joints]
    full = {parent for path in files for parent in (path, *path.parents)}
    depth, found = len(layout.around), []
    for folder in below.folders:
      parts = folder.relative_to(self.root).parts
      if folder in full or parts[:depth] != layout.around:
        continue
      level = len(parts) - depth
      if "part" in layout.order[:1] and level > 1:
        level -= len(layout.inside.get(parts[depth], ())) + 1
      if level == 1:
        kind = "video" if self.frames else "file of joints"
        found.append((f"{'/'.join(parts)}/", f"an empty folder: no {kind} in it"))
    return found

  @functools.cached_property
  def coordinates(self) -> str:
    """See `base.coordinates`; those of the first file that can be read."""
    paths = [clip.pose for clip in self._clips if clip.pose is not None]
    return clip_joints.coordinates(paths, self.body, self.pose_format)

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; in order of their names, which are paths below the root."""
    return list(self._clips), list(self._left_out)

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`."""
    if clip.pose is None:
      raise BadClip("it has no joints; --config.data.pose=mediapipe makes some")
    frames = fps = size = None
    if clip.video is not None:
      frames, fps, size = video.open_file(clip.video)
    joints = clip_joints.read(
      clip.pose,
      self.body,
      units=self.image_units,
      size=size or self.image_size,
      pose_format=self.pose_format,
    )
    if not self.frames:
      frames, fps = None, joints.fps or fps
    opened = RawClip(
      joints.world,
      joints.image,
      frames,
      fps or joints.fps or clip_joints.FPS,
      joints.visibility,
      open_ended=joints.open_ended,
    )
    return alignment.to_video(opened, joints.fps)


@dataclasses.dataclass(frozen=True)
class FilesBelow:
  """What is below a folder, but for hidden files and folders.

  Attributes:
    videos, joints: in order.
    folders: in order.
    others: how many other files there are, by their endings.
  """

  videos: list[pathlib.Path]
  joints: list[pathlib.Path]
  folders: list[pathlib.Path]
  others: collections.Counter


def files_below(
  root: pathlib.Path, *, depth: int, also: tuple[str, ...] = ()
) -> FilesBelow:
  """Lists what is below a folder, through links, too (`paired_files.walk_all`).

  Args:
    root: the folder.
    depth: from which on a folder that holds a file per frame is a clip; 2 for folders
      in those of classes.
    also: further endings of files of joints.
  """
  videos, joints, folders, others = [], [], [], collections.Counter()
  for folder, subfolders, files in paired_files.walk_all(root):
    subfolders[:] = [f for f in subfolders if not f.startswith(".")]
    path = pathlib.Path(folder)
    if path != root:
      folders.append(path)
    deep = len(path.relative_to(root).parts) >= depth
    if deep and reader.is_clip_folder(path, files, subfolders):
      joints.append(path)
      subfolders.clear()
      continue
    for file in files:
      path = pathlib.Path(folder, file)
      if file.startswith("."):
        continue
      if file.lower().endswith(ENDINGS):
        videos.append(path)
      elif clip_joints.ending(path) or file.endswith(also or "\0"):
        joints.append(path)
      else:
        others[path.suffix.lower() or path.name] += 1
  return FilesBelow(sorted(videos), sorted(joints), folders, others)


def _in_words(others: collections.Counter) -> str:
  """Files by their endings, in words."""
  most = [f"{n:,} {ending}" for ending, n in others.most_common(8)]
  more = [f"files of {len(others) - 8} other kinds"] if len(others) > 8 else []
  return ", ".join([*most, *more])


def _lacking(parts: set[str]) -> list[str]:
  """What training needs to know about parts that are not there, or not used."""
  if parts and "test" not in parts and "validation" in parts:
    return ["no part is for testing: --config.data.test=split:validation tests on that"]
  if "validation" in parts:
    return ["--config.data.validation=split:validation uses the validation part"]
  return [f"the only part is {min(parts)}"] if len(parts) == 1 else []


def _stem(path: pathlib.Path) -> pathlib.Path:
  """A path without the ending of a video or a file of joints."""
  end = clip_joints.ending(path)
  if not end and path.suffix.lower() in ENDINGS:
    end = path.suffix
  return path.with_name(path.name[: len(path.name) - len(end)])


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
