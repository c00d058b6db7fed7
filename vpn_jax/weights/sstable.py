"""LevelDB's table format, which TensorFlow uses for checkpoint indexes: bytes -> pairs.

Source: the table format of google/leveldb (doc/table_format.md). A footer of 48 bytes
points to the index block, which points to the data blocks. An entry omits the prefix
that its key shares with the key before.
"""

from collections.abc import Iterator

import google_crc32c

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5  # after each block: kind of compression and checksum
_LONGEST_KEY = 4096  # bytes, far above real names; bounds the work on a forged file


def masked_crc32c(data: bytes) -> int:
  """LevelDB's checksum: CRC32C rotated right by 15, plus a constant, modulo 2**32."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:
  """Reads the unsigned number at `at`, 7 bits per byte; returns it and its end.

  Raises: ValueError when the data ends before the number does, or for over 64 bits.
  """
  value = 0
  for i, byte in enumerate(data[at : at + 10]):
    value |= (byte & 0x7F) << 7 * i
    if byte < 0x80:
      if value >> 64:
        break
      return value, at + i + 1
  raise ValueError(f"no number of at most 64 bits at byte {at} of {len(data)}")


def pairs(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields the keys and values of a table file in order.

  Raises: ValueError, without the name of the file, when it is not a table, a block is
    out of bounds, compressed or has a wrong checksum, or keys are out of order.
  """
  if len(data) < _FOOTER or data[-len(_MAGIC) :] != _MAGIC:
    raise ValueError(
      f"{len(data)} bytes that end in {data[-len(_MAGIC) :].hex() or 'nothing'}, "
      f"expected a table's last 8 bytes, {_MAGIC.hex()}"
    )
  footer = data[-_FOOTER:]
  _, _, at = _handle(footer, 0)  # of the statistics, which TensorFlow leaves empty
  offset, size, _ = _handle(footer, at)
  last, end = None, 0
  for _, value in _entries(_block(data, offset, size)):
    offset, size, _ = _handle(value, 0)
    if offset < end:  # a block read again and again would take hours
      raise ValueError(f"a block at byte {offset}, expected it after byte {end}")
    end = offset + size
    for key, value in _entries(_block(data, offset, size)):
      if last is not None and key <= last:
        raise ValueError(f"key {key!r} comes after {last!r}, expected ascending keys")
      last = key
      yield key, value


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
  """Reads the offset and size of a block; returns them and their end."""
  offset, at = varint(data, at)
  size, at = varint(data, at)
  return offset, size, at


def _block(data: bytes, offset: int, size: int) -> bytes:
  """Reads and checks a block."""
  if offset + size + _TRAILER > len(data) - _FOOTER:
    raise ValueError(
      f"a block of {size} bytes at byte {offset}, expected one within the "
      f"{len(data) - _FOOTER} bytes before the footer"
    )
  body, kind = data[offset : offset + size + 1], data[offset + size]
  stored = int.from_bytes(data[offset + size + 1 : offset + size + _TRAILER], "little")
  if masked_crc32c(body) != stored:
    raise ValueError(
      f"the block at byte {offset} has checksum {masked_crc32c(body):#010x}, the file "
      f"has {stored:#010x}"
    )
  if kind != 0:
    name = "snappy" if kind == 1 else f"kind {kind}"
    raise ValueError(
      f"the block at byte {offset} is compressed ({name}), expected an uncompressed "
      "one as TensorFlow writes them"
    )
  return body[:-1]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields the keys and values of a block, which ends with its restart points."""
  restarts = int.from_bytes(block[-4:], "little")
  end = len(block) - 4 * restarts - 4
  if len(block) < 4 or end < 0:
    raise ValueError(f"a block of {len(block)} bytes with {restarts} restart points")
  at, key = 0, b""
  while at < end:
    shared, at = varint(block, at)
    unshared, at = varint(block, at)
    length, at = varint(block, at)
    if shared > len(key) or at + unshared + length > end:
      raise ValueError(f"an entry of a block exceeds it at byte {at} of {end}")
    if shared + unshared > _LONGEST_KEY:
      raise ValueError(
        f"a key of {shared + unshared} bytes, expected at most {_LONGEST_KEY}"
      )
    key = key[:shared] + block[at : at + unshared]
    at += unshared
    yield key, block[at : at + length]
    at += length
