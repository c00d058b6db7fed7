"""The format of a record: one prepared clip as bytes and back.

A clip is a run of consecutive payloads in an ArrayRecord file: a header with everything
but the frames, then the frames in chunks. Each payload is a msgpack map; each frame is
a JPEG. A reader fetches only the chunks, and decodes only the frames, that it needs, so
a long clip costs no more than a short one.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import msgpack
import numpy as np
import simplejpeg

FORMAT = 2  # raised when the layout of a record or of the index changes
CHUNK = 32  # frames of a chunk


class RecordError(ValueError):
  """A record, shard or index cannot be read; names the file and the remedy."""


@dataclasses.dataclass(frozen=True)
class Record:
  """One prepared clip.

  Attributes:
    name: unique in its dataset.
    label: class, 0-based.
    attributes: subject, camera, setup and the like.
    fps: frames per second.
    boxes: float32 [F, 4], the crop of each frame in pixels of the video: left, top,
      right, bottom; all rows are equal unless the crop moves. [0, 4] without frames.
    frames: the square crops as JPEG, one per frame; empty for a skeleton alone.
    pose: float32 [F, persons, J, 3], metres, camera axes, not centred; NaN where nobody
      was seen, and everywhere in a record of image joints alone.
    image_joints: float32 [F, persons, J, 2] in pixels of the crop, or of the video in a
      record without frames; NaN where unknown.
    visibility: float32 [F, persons, J], 0 to 1; NaN where it is unknown, and 0 where
      the pose was interpolated across a gap.
    note: see `base.RawClip`.
  """

  name: str
  label: int
  attributes: dict[str, int | str]
  fps: float
  boxes: np.ndarray
  frames: Sequence[bytes]
  pose: np.ndarray
  image_joints: np.ndarray
  visibility: np.ndarray
  note: str = ""

  @property
  def num_frames(self) -> int:
    """F, the number of poses; there are as many frames, or none."""
    return len(self.pose)

  @property
  def seen(self) -> np.ndarray:
    """Which joints are known, in metres or, if none is, in the image.

    Returns: bool [F, persons, J].
    """
    in_world = np.isfinite(self.pose).all(axis=-1)
    return in_world if in_world.any() else np.isfinite(self.image_joints).all(axis=-1)


_ARRAYS = ("boxes", "pose", "image_joints", "visibility")


def encode_frame(frame: np.ndarray, quality: int = 92) -> bytes:
  """uint8 RGB [H, W, 3] -> JPEG with colours at half the resolution (4:2:0)."""
  return simplejpeg.encode_jpeg(
    np.ascontiguousarray(frame),
    quality=quality,
    colorspace="RGB",
    colorsubsampling="420",
  )


def decode_frame(blob: bytes) -> np.ndarray:
  """JPEG -> uint8 RGB [H, W, 3]; ValueError for other bytes."""
  return simplejpeg.decode_jpeg(blob, colorspace="RGB")


def frame_side(blob: bytes) -> int:
  """The side of a square JPEG in pixels, from its header."""
  return simplejpeg.decode_jpeg_header(blob)[0]


class Spool(Sequence):
  """Frames of a clip that is being made, in memory while they are few, else in a file.

  The file has no name and disappears with the process, however it ends.
  """

  def __init__(self, folder: str | pathlib.Path | None = None, *, memory: int = 2**25):
    """Opens an empty spool.

    Args:
      folder: of the file; None for the system's.
      memory: bytes from which on the frames go to the file.
    """
    self._file = tempfile.SpooledTemporaryFile(memory, dir=folder)
    self._ends = [0]

  def append(self, blob: bytes) -> None:
    self._file.seek(self._ends[-1])
    self._file.write(blob)
    self._ends.append(self._ends[-1] + len(blob))

  def truncate(self, length: int) -> None:
    """Drops the frames from `length` on."""
    del self._ends[length + 1 :]

  def __len__(self) -> int:
    return len(self._ends) - 1

  def __getitem__(self, i):
    if isinstance(i, slice):
      return tuple(self[j] for j in range(*i.indices(len(self))))
    i = range(len(self))[i]
    self._file.seek(self._ends[i])
    return self._file.read(self._ends[i + 1] - self._ends[i])

  def __del__(self):
    self._file.close()


def num_payloads(num_frames: int) -> int:
  """The number of payloads of a clip with so many frames."""
  return 1 + -(-num_frames // CHUNK)


def encode(record: Record) -> Iterator[bytes]:
  """Yields the payloads of a record, header first; equal records give equal bytes."""
  fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
  for key in _ARRAYS:
    array = np.ascontiguousarray(fields[key], dtype="<f4")
    fields[key] = {"shape": array.shape, "data": array.tobytes()}
  fields["attributes"] = sorted(record.attributes.items())
  fields["frames"] = len(record.frames)
  if not record.note:  # records of before have no such field
    del fields["note"]
  yield msgpack.packb({"format": FORMAT, **fields})
  for first in range(0, len(record.frames), CHUNK):
    blobs = list(record.frames[first : first + CHUNK])
    yield msgpack.packb({"clip": record.name, "first": first, "frames": blobs})


def decode(payloads: Sequence[bytes], where: str = "record") -> Record:
  """Payloads -> record.

  Args:
    payloads: as `encode` yields them. The header is read at once, a chunk when one of
      its frames is needed.
    where: the payloads come from, for messages.
  Raises: RecordError when the payloads are damaged, at once or from `frames`.
  """
  try:
    fields = msgpack.unpackb(payloads[0])
    if fields.pop("format") != FORMAT:
      raise RecordError(
        f"{where} does not have format {FORMAT}: run --job=prepare again."
      )
    for key in _ARRAYS:
      array = np.frombuffer(fields[key]["data"], "<f4")
      fields[key] = array.reshape(fields[key]["shape"])
    fields["attributes"] = dict(fields["attributes"])
    fields["frames"] = _Chunks(payloads, fields["frames"], fields["name"], where)
    return Record(**fields)
  except RecordError:
    raise
  except Exception as e:  # msgpack raises many kinds on damaged bytes
    raise _damaged(where, e) from e


class _Chunks(Sequence):
  """The frames of a stored clip; the chunks read last stay in memory."""

  def __init__(self, payloads: Sequence[bytes], length: int, name: str, where: str):
    self._payloads, self._name, self._where = payloads, name, where
    self._length = int(length)
    self._chunks: dict[int, list[bytes]] = {}

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, i):
    if isinstance(i, slice):
      return tuple(self[j] for j in range(*i.indices(self._length)))
    chunk, offset = divmod(range(self._length)[i], CHUNK)
    if chunk not in self._chunks:
      while len(self._chunks) >= 8:
        del self._chunks[next(iter(self._chunks))]
      self._chunks[chunk] = self._read(chunk)
    return self._chunks[chunk][offset]

  def _read(self, chunk: int) -> list[bytes]:
    first = chunk * CHUNK
    try:
      content = msgpack.unpackb(self._payloads[1 + chunk])
      expected = self._name, first, min(CHUNK, self._length - first)
      found = content["clip"], content["first"], len(content["frames"])
    except RecordError:
      raise
    except Exception as e:
      raise _damaged(f"{self._where}, frames from {first}", e) from e
    if found != expected:
      raise RecordError(
        f"{self._where} has frames of {found} (clip, first, number), expected "
        f"{expected}: delete its shard and run --job=prepare again."
      )
    return content["frames"]


def _damaged(where: str, error: Exception) -> RecordError:
  return RecordError(
    f"{where} is damaged ({type(error).__name__}: {error}): delete its shard and run "
    "--job=prepare again."
  )
