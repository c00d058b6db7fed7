"""The prepared npz files of CTR-GCN: NTU60_CS.npz, NTU120_CSet.npz and the like.

A file has the arrays `x_train` [N, T, 150], `y_train` [N, K], `x_test` and `y_test`: x,
y, z in metres of the 25 joints of two people, zeros for nobody and after the end of a
clip, and the classes one-hot. The clips are divided already, and have no names.

Source: data/ntu/seq_transformation.py of Uason-Chen/CTR-GCN. The middle of the main
actor's spine in the first frame is at the origin.
"""

import pathlib
import re
import zipfile

import numpy as np

from vpn_jax.datasets import prepared, protocols
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.pose_files import people

JOINTS, CHANNELS = 25, 3
MOST_PEOPLE = 10  # in a frame
_NAMES = {"cs": "cs", "cv": "cv", "csub": "cs1", "cset": "cs2"}  # in those of the files
_NAME = re.compile(r".*NTU(60|120)_(CS|CV|CSub|CSet)\b.*", re.IGNORECASE)
_PARTS = ("train", "test")


class PreparedNpz(prepared.Prepared):
  """An npz of CTR-GCN; a `base.Dataset`.

  Clips are called train_00000, test_00000 and so on. Their attribute is named by the
  protocol that the file was divided by, such as "cs", as its name or the published
  sizes tell; "split" where neither does.
  """

  def __init__(
    self,
    path: str | pathlib.Path,
    dataset: str,
    skeleton: str = "",
    class_names: str = "",
  ):
    """Reads the labels; the joints stay in the file.

    Args: as of `prepared_pickle.PreparedPickle`.
    Raises: FileNotFoundError without the file; ValueError when it is damaged,
      compressed, or holds something else.
    """
    super().__init__(path, dataset, class_names)
    arrays = {
      f"{kind}_{part}": _Member.find(self.path, f"{kind}_{part}")
      for part in _PARTS
      for kind in "xy"
    }
    self._x = {part: arrays[f"x_{part}"] for part in _PARTS}
    self._set_layout(JOINTS, CHANNELS, skeleton)
    sizes, widths = [], set()
    for part in _PARTS:
      x, y = self._x[part].shape, arrays[f"y_{part}"].shape
      if len(x) != 3 or len(y) != 2 or x[0] != y[0] or not 0 < x[1] < people.MAX_FRAMES:
        raise ValueError(
          f"{path} has x_{part} {list(x)} and y_{part} {list(y)}, expected [N, T, 150] "
          "and [N, K], as CTR-GCN prepares them."
        )
      if x[2] % (JOINTS * CHANNELS) or not 0 < x[2] <= MOST_PEOPLE * JOINTS * CHANNELS:
        raise ValueError(
          f"{path} has {x[2]} numbers in a frame, expected 150 (x, y, z of 25 joints "
          "of two people): convert other files to an index and npz files."
        )
      sizes.append(x[0])
      widths.add(y[1])
    if len(widths) > 1 or (self.which is not None and widths != {self.which}):
      raise ValueError(
        f"{path} has {sorted(widths)} classes, expected {self.which or 'one number'}: "
        f"it is not a file of {self.name}."
      )
    self.class_names = self._name_classes(widths.pop())
    attribute = self._attribute(tuple(sizes))
    for part in _PARTS:
      labels = arrays[f"y_{part}"].open()
      for i, row in enumerate(np.array(labels)):
        name = f"{part}_{i:05d}"
        if (row > 0).sum() != 1:
          self._left_out.append(
            (name, f"it has {(row > 0).sum()} classes, expected one")
          )
        else:
          attributes = {attribute: part}
          self._clips.append(Clip(name, int(row.argmax()), attributes, None, name))

  def _attribute(self, sizes: tuple[int, int]) -> str:
    """The protocol by which the file was divided; "split" when it does not tell."""
    for name in protocols.names(self.name):
      if protocols.EXPECTED_COUNTS.get((self.name, name)) == sizes:
        return name
    match = _NAME.fullmatch(self.path.name)
    return _NAMES[match[2].lower()] if match else "split"

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; image joints are all NaN, since the files have none."""
    part, _, number = clip.pose.partition("_")
    try:
      rows = np.array(self._x[part].open()[int(number)])
    except (OSError, ValueError) as e:
      raise BadClip(f"{self.path.name} cannot be read: {e}") from e
    filled = np.flatnonzero((rows != 0).any(axis=1))
    if not len(filled):
      raise BadClip(f"{clip.name} has nobody in any of {len(rows)} frames")
    rows = rows[: filled[-1] + 1]  # zeros follow the end
    joints = rows.reshape(len(rows), -1, JOINTS, CHANNELS)
    return prepared.raw_clip(joints, None, clip.name, self.body)


class _Member:
  """An array of an npz that is not compressed, mapped into memory when it is used."""

  def __init__(self, path, dtype, shape, order, offset):
    self.path, self.offset = path, offset
    self.dtype, self.shape, self.order = dtype, shape, order

  def open(self) -> np.memmap:
    return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)

  @classmethod
  def find(cls, path: pathlib.Path, name: str) -> "_Member":
    """Finds an array in a file; ValueError when it cannot be mapped."""
    try:
      with zipfile.ZipFile(path) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist()]
        if name not in names:
          raise _Unusable(
            f"{path} holds the arrays {names[:8]}, expected x_train, y_train, x_test "
            "and y_test, as CTR-GCN prepares them; clips of your own in one npz are "
            "config.data.index."
          )
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
          raise _Unusable(
            f"{path} is compressed, expected an npz of numpy.savez, which can be read "
            "clip by clip: load it and write it so."
          )
        with archive.open(info) as member:
          version = np.lib.format.read_magic(member)
          read = np.lib.format.read_array_header_1_0
          if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
          shape, fortran, dtype = read(member)
          header = member.tell()
      if dtype.kind not in "fiub" or dtype.hasobject:
        raise _Unusable(f"{path}, array {name}, is {dtype}, expected numbers.")
      if header + dtype.itemsize * int(np.prod(shape, dtype=object)) != info.file_size:
        raise ValueError(f"array {name} has another size than its header says")
      with open(path, "rb") as file:
        file.seek(info.header_offset + 26)  # lengths of the name and the extra field
        lengths = np.frombuffer(file.read(4), "<u2")
        start = info.header_offset + 30 + int(lengths.sum())
        if start + info.file_size > path.stat().st_size:
          raise ValueError("the file ends too early")
    except _Unusable as e:
      raise ValueError(str(e)) from None
    except Exception as e:  # zipfile and numpy raise many kinds on a damaged file
      reason = " ".join(f"{type(e).__name__}: {e}".split())[:200]
      raise ValueError(
        f"{path} cannot be read as npz ({reason}): fetch or write it again."
      ) from e
    return cls(path, dtype, shape, "F" if fortran else "C", start + header)


class _Unusable(Exception):
  """An undamaged file that holds something else."""
