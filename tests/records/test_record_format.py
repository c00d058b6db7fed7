"""The record format: bytes and back, chunks, and every kind of damage."""

import dataclasses

import fake_records
import numpy as np
import pytest

from vpn_jax.records import record_format


@pytest.mark.parametrize("frames", [1, 31, 32, 33, 64, 70])
def test_round_trip(frames):
  record = fake_records.lab_record(frames=frames)
  payloads = list(record_format.encode(record))
  assert len(payloads) == record_format.num_payloads(frames) == 1 + (frames + 31) // 32
  fake_records.assert_same(record_format.decode(payloads), record)
  assert list(record_format.encode(record_format.decode(payloads))) == payloads


def test_equal_records_give_equal_bytes():
  record = fake_records.lab_record()
  turned = dict(reversed(record.attributes.items()))
  other = dataclasses.replace(record, attributes=turned, pose=record.pose.copy())
  assert list(record_format.encode(record)) == list(record_format.encode(other))


class Counting(list):
  def __init__(self, items):
    super().__init__(items)
    self.asked = []

  def __getitem__(self, i):
    self.asked.append(i)
    return super().__getitem__(i)


def test_only_needed_chunks_are_read():
  record = fake_records.lab_record(frames=100, size=8)
  payloads = Counting(record_format.encode(record))
  frames = record_format.decode(payloads).frames
  assert payloads.asked == [0]
  assert frames[40] == record.frames[40]
  assert frames[63] == frames[-37] == record.frames[63]
  assert frames[33:36] == record.frames[33:36]
  assert payloads.asked == [0, 2]
  with pytest.raises(IndexError):
    frames[100]


def test_a_long_clip_keeps_few_chunks_in_memory():
  record = fake_records.lab_record(frames=32 * 20, size=8)
  frames = record_format.decode(list(record_format.encode(record))).frames
  assert tuple(frames) == record.frames
  assert len(frames._chunks) == 8


@pytest.mark.parametrize("memory", [10, 2**20])
def test_spool(memory, tmp_path):
  spool, blobs = (
    record_format.Spool(tmp_path, memory=memory),
    [b"a" * i for i in range(9)],
  )
  for blob in blobs:
    spool.append(blob)
  assert list(spool) == blobs
  assert spool[2:4] == (b"aa", b"aaa")
  assert spool[-1] == blobs[8]
  spool.truncate(3)
  assert list(spool) == blobs[:3]
  spool.append(b"new")
  assert spool[3] == b"new"
  assert not list(tmp_path.iterdir())  # the file has no name


def test_frames_come_back_as_rgb():
  image = np.zeros((32, 32, 3), np.uint8)
  image[..., 0] = 200
  back = record_format.decode_frame(record_format.encode_frame(image[:, ::-1], 95))
  assert back.shape == image.shape
  np.testing.assert_allclose(back, image, atol=4)


@pytest.mark.parametrize("cut", [0, 1, 10, -1, -100])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_truncated_payload(place, cut):
  payloads = list(record_format.encode(fake_records.lab_record(frames=40)))
  payloads[place] = payloads[place][:cut]
  with pytest.raises(
    record_format.RecordError, match=r"shard 7.* is damaged .* delete its"
  ):
    tuple(record_format.decode(payloads, "shard 7").frames)


def test_chunks_of_another_clip():
  payloads = list(record_format.encode(fake_records.lab_record(frames=70)))
  other = list(record_format.encode(fake_records.lab_record("other", frames=70)))
  for wrong in ([payloads[0], other[1], *payloads[2:]], payloads[:2] + payloads[1:]):
    with pytest.raises(
      record_format.RecordError, match=r"has frames of .* expected \('a', "
    ):
      tuple(record_format.decode(wrong, "shard 7").frames)


def test_any_flipped_byte_gives_a_record_error_or_a_record():
  payloads = list(record_format.encode(fake_records.lab_record(frames=1, size=8)))
  for place in range(2):
    for i in range(0, len(payloads[place]), 7):
      changed = bytearray(payloads[place])
      changed[i] ^= 0xFF
      turned = [*payloads[:place], bytes(changed), *payloads[place + 1 :]]
      try:
        record_format.decode(turned).frames[0]
      except (record_format.RecordError, IndexError):  # no frame is left
        pass


def test_other_format(monkeypatch):
  payloads = list(record_format.encode(fake_records.lab_record()))
  monkeypatch.setattr(record_format, "FORMAT", 3)
  with pytest.raises(
    record_format.RecordError, match="does not have format 3: run --job=prep"
  ):
    record_format.decode(payloads)
