"""LevelDB's table file, as TensorFlow writes its checkpoint indexes: bytes -> pairs.

Source: the table format of google/leveldb (doc/table_format.md). From the end: a footer
of 48 bytes points at the index block, which points at the data blocks, whose entries
leave out what a key shares with the one before.
"""

from collections.abc import Iterator

import google_crc32c

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5  # after each block: its kind of compression, and a checksum
_LONGEST_KEY = 4096  # real names are far shorter; bounds the work on a forged file


def masked_crc32c(data: bytes) -> int:
  """LevelDB's checksum: CRC32C rotated right by 15, plus a constant, modulo 2**32."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:
  """The unsigned number at `at`, 7 bits a byte, and the place after it.

  Raises: ValueError when the data ends within it, or when it exceeds 64 bits.
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
  """The keys and values of a whole table file, in order.

  Raises: ValueError with what is wrong, without the file's name: no table, a block out
    of bounds, compressed or of another checksum, keys out of order.
  """
  if len(data) < _FOOTER or data[-len(_MAGIC) :] != _MAGIC:
    raise ValueError(
      f"{len(data)} bytes that end in {data[-len(_MAGIC) :].hex() or 'nothing'}, "
      f"expected a table's last 8 bytes, {_MAGIC.hex()}"
    )
  footer = data[-_FOOTER:]
  _, _, at = _handle(
    footer, 0
  )  # the block of statistics, which TensorFlow leaves empty
  offset, size, _ = _handle(footer, at)
  last, end = None, 0
  for _, value in _entries(_block(data, offset, size)):
    offset, size, _ = _handle(value, 0)
    if offset < end:  # read again and again, a block would cost hours
      raise ValueError(f"a block at byte {offset}, expected it behind byte {end}")
    end = offset + size
    for key, value in _entries(_block(data, offset, size)):
      if last is not None and key <= last:
        raise ValueError(f"key {key!r} comes after {last!r}, expected rising keys")
      last = key
      yield key, value


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
  """A block's offset and size, and the place after them."""
  offset, at = varint(data, at)
  size, at = varint(data, at)
  return offset, size, at


def _block(data: bytes, offset: int, size: int) -> bytes:
  """A block's bytes, checked."""
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
      f"says {stored:#010x}"
    )
  if kind != 0:
    name = "snappy" if kind == 1 else f"kind {kind}"
    raise ValueError(
      f"the block at byte {offset} is compressed ({name}), expected a plain one, as "
      "TensorFlow writes them"
    )
  return body[:-1]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
  """The keys and values of one block; its last 4 bytes count the restart points."""
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
      raise ValueError(f"an entry of a block reaches out of it at byte {at} of {end}")
    if shared + unshared > _LONGEST_KEY:
      raise ValueError(
        f"a key of {shared + unshared} bytes, expected {_LONGEST_KEY} at most"
      )
    key = key[:shared] + block[at : at + unshared]
    at += unshared
    yield key, block[at : at + length]
    at += length
