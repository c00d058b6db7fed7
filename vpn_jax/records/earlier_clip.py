"""A clip of an earlier run that did not change, and need not be made again."""

import dataclasses
import pathlib

from vpn_jax.datasets.base import Clip
from vpn_jax.records import record_format, store

FOLDER = "earlier"  # in the folder of the records, while it is made anew


@dataclasses.dataclass(frozen=True)
class EarlierClip:
  """A record, or a skipped clip, of an earlier run.

  Attributes:
    place: of the record in `FOLDER`, as `store.RecordReader` takes it; None for a clip
      that was skipped.
    reason: why it was skipped.
    noted: what it was made from (`origins`).
  """

  place: dict | None
  reason: str
  noted: dict

  def read(self, folder: pathlib.Path, clip: Clip) -> record_format.Record:
    """The record, with the class and the attributes that the clip has now.

    Raises: RecordError when it is damaged.
    """
    record = store.RecordReader(folder / FOLDER, [self.place])[0]
    return dataclasses.replace(
      record,
      label=clip.label,
      attributes=clip.attributes,
      frames=tuple(record.frames),  # damage shows here
    )
