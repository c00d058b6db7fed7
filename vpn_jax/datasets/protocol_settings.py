"""From settings to a protocol: published or custom, with its validation split."""

import dataclasses
import random
from collections.abc import Iterable

from vpn_jax.datasets import protocols
from vpn_jax.datasets.protocols import Protocol


def from_config(data, clips: Iterable = ()) -> Protocol:
  """The protocol of a config's data block.

  Args:
    data: ConfigDict with `dataset`, `protocol` and `validation`: values as in
      `hold_out`, or a share such as "10%" or "camera:50%" that `draw_validation` draws
      with the seed `validation_seed`; "" for none. A custom dataset has `train` and
      `test` (as in `custom`) instead of `protocol`.
    clips: of the dataset, for a share of another attribute than the protocol's, and to
      see whether they are divided already (`protocols.get`).
  Raises: ValueError as `get`, `hold_out`, `draw_validation` and `custom` do.
  """
  validation = data.get("validation") or ""
  drawn = validation.endswith("%")
  if data.dataset == "custom":
    protocol = custom(data.train, data.get("test") or "", "" if drawn else validation)
  else:
    protocol = protocols.get(data.dataset, data.protocol, clips)
    if validation and not drawn:
      return hold_out(protocol, validation)
  if not drawn:
    return protocol
  attribute, _, share = validation.removesuffix("%").rpartition(":")
  try:
    fraction = float(share) / 100
  except ValueError:
    raise ValueError(
      f"config.data.validation is {validation!r}, expected a share such as '10%' or "
      "'subject:10%'."
    ) from None
  seed = data.get("validation_seed") or 0
  return draw_validation(protocol, fraction, seed, attribute.strip(), clips)


def check_values(
  data, protocol: Protocol, parts: Iterable[str], clips: Iterable
) -> None:
  """Refuses values that a user has named for a part and that no clip has.

  Published protocols may name values that are not among the clips. A part of which no
  value is there is empty, which is for the caller to accept or not.

  Args:
    data: as in `from_config`.
    protocol: from it.
    parts: that are wanted.
    clips: of the dataset.
  Raises: ValueError with the values and those that there are.
  """
  clips = list(clips)
  for name in parts:
    text = data.get(name) or ""
    own = data.dataset == "custom" or name == "validation"
    if not own or not text or text.endswith("%"):
      continue
    attribute, values = protocols.missing(protocol, name, clips)
    if not values or values == list(getattr(protocol, name)):
      continue
    there = {protocols.attributes_of(clip).get(attribute) for clip in clips} - {None}
    listed = sorted(there, key=lambda v: (isinstance(v, str), v))
    shown = ", ".join(map(str, listed[:20])) + ", ..." * (len(listed) > 20)
    raise ValueError(
      f"config.data.{name} is {text!r}, but no clip has {attribute} "
      f"{', '.join(map(str, values))}: leave that out or correct it; the clips have "
      f"{attribute} {shown}."
    )


def custom(train: str, test: str = "", validation: str = "") -> Protocol:
  """A protocol for a dataset of your own.

  Args:
    train: such as "subject:1,3,6" or "split:train".
    test: the same attribute with its other values; empty for all others.
    validation: such as "subject:8" or "split:val". Values of the same attribute are
      taken out of `train`; those of another one hold out clips that would train. Empty
      for none.
  Raises: ValueError when the attributes differ or values overlap.
  """
  attribute, train_values = parse_values(train)
  test_values = None
  if test:
    test_attribute, test_values = parse_values(test)
    if test_attribute != attribute:
      raise ValueError(
        f"train splits by {attribute!r} but test by {test_attribute!r}: name values of "
        "one attribute in both."
      )
  other, held = parse_values(validation) if validation else (attribute, ())
  if other == attribute:
    train_values = tuple(v for v in train_values if v not in held)
    other = ""
  return Protocol(attribute, train_values, test_values, held, other, source="custom")


def hold_out(protocol: Protocol, values: str) -> Protocol:
  """Holds a validation split out of train, never out of test.

  Args:
    protocol: without a validation split of its own.
    values: such as "subject:4,19,31"; the attribute may differ from the protocol's.
  Raises: ValueError when a value does not train, no value would be left to train, or
    the protocol has a validation split already.
  """
  if protocol.validation:
    raise ValueError(
      f"the protocol validates on {list(protocol.validation)} already: leave the "
      "validation split empty."
    )
  attribute, held = parse_values(values)
  if attribute != protocol.attribute:
    return dataclasses.replace(
      protocol, validation=held, validation_attribute=attribute
    )
  other = [v for v in held if v not in protocol.train]
  if other:
    raise ValueError(
      f"{attribute} {other} does not train, so it cannot be held out of train for "
      f"validation: choose among {list(protocol.train)}."
    )
  left = tuple(v for v in protocol.train if v not in held)
  return dataclasses.replace(protocol, train=left, validation=held)


def draw_validation(
  protocol: Protocol,
  fraction: float,
  seed: int,
  attribute: str = "",
  clips: Iterable = (),
) -> Protocol:
  """Holds random values out of train, whole subjects, cameras or the like.

  Args:
    protocol: without a validation split of its own.
    fraction: share of the values that validate, in (0, 1); at least one validates and
      at least one trains.
    seed: of the draw.
    attribute: whose values to draw; the protocol's when empty.
    clips: of the dataset, for another attribute than the protocol's: its values are
      those of the clips that train.
  """
  if not 0 < fraction < 1:
    raise ValueError(f"validation fraction is {fraction}, expected within (0, 1).")
  attribute = attribute or protocol.attribute
  pool = set(protocol.train)
  if attribute != protocol.attribute:
    pool = {
      protocols.value_of(attributes, attribute)
      for attributes in map(protocols.attributes_of, clips)
      if protocols.value_of(attributes, protocol.attribute) in protocol.train
    }
  if len(pool) < 2:
    raise ValueError(
      f"{len(pool)} {attribute} trains, expected 2 or more to hold one out: split "
      "validation by another attribute."
    )
  count = min(max(1, round(fraction * len(pool))), len(pool) - 1)
  held = random.Random(seed).sample(sorted(pool, key=str), count)
  return hold_out(protocol, f"{attribute}:{','.join(map(str, sorted(held, key=str)))}")


def parse_values(text: str) -> tuple[str, tuple[int | str, ...]]:
  """Reads "subject:1,3,6" as ("subject", (1, 3, 6)); numbers become integers.

  Raises: ValueError when it is not of that form.
  """
  attribute, colon, values = text.partition(":")
  parsed = tuple(protocols.parse_value(v) for v in values.split(",") if v.strip())
  if not attribute.strip() or not colon or not parsed:
    raise ValueError(
      f"got {text!r}, expected an attribute and its values, such as 'subject:1,3,6' or "
      "'split:train'."
    )
  return attribute.strip(), parsed
