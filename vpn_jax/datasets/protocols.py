"""The published evaluation protocols: which clips train and which test.

A protocol depends on the attributes of a clip only (and on its class, if the protocol
keeps some classes only), so that splits and their sizes can be checked without data.
"""

import dataclasses
from collections.abc import Iterable, Sequence

PARTS = ("train", "validation", "test")

# Shahroudy et al. 2016 (NTU RGB+D), section 4.1.
_NTU60_SUBJECTS = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34,
                   35, 38)  # fmt: skip
# Liu et al. 2019 (NTU RGB+D 120), section 4.2: the same 20 and 33 more.
_NTU120_SUBJECTS = _NTU60_SUBJECTS + (
  45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84,
  85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103,
)  # fmt: skip
# Das et al. 2019 (Toyota Smarthome), section 5; the 19 classes of its supplement.
_SMARTHOME_TRAIN = (3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25)
_SMARTHOME_TEST = (2, 10, 11, 14, 16, 18, 20)
_SMARTHOME_CV_CLASSES = (
  "Cutbread", "Drink.Frombottle", "Drink.Fromcan", "Drink.Fromcup", "Drink.Fromglass",
  "Eat.Attable", "Eat.Snack", "Enter", "Getup", "Leave", "Pour.Frombottle",
  "Pour.Fromcan", "Readbook", "Sitdown", "Takepills", "Uselaptop", "Usetablet",
  "Usetelephone", "Walk",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A rule from a clip's attributes to its part.

  Attributes:
    attribute: splits the clips, such as "subject".
    train: its values that train.
    test: its values that test; None for all others.
    validation: values that validate, of `attribute` or, if it is set, of
      `validation_attribute`; in that case only clips that would train validate.
    validation_attribute: see `validation`.
    classes: names of the classes to keep, in label order; None keeps all.
    source: of the rule.
  """

  attribute: str
  train: tuple[int | str, ...]
  test: tuple[int | str, ...] | None = None
  validation: tuple[int | str, ...] = ()
  validation_attribute: str = ""
  classes: tuple[str, ...] | None = None
  source: str = ""

  def __post_init__(self):
    if not self.train:
      raise ValueError(f"no {self.attribute} trains: name at least one value.")
    own = () if self.validation_attribute else self.validation
    for a, b, names in (
      (self.train, self.test or (), "train and test"),
      (own, self.test or (), "validation and test"),
      (own, self.train, "validation and train"),
    ):
      both = sorted(set(a) & set(b), key=str)
      if both:
        raise ValueError(
          f"{names} share {self.attribute} {both}, expected none in common: take them "
          "out of one of the two."
        )


_EVEN_SETUPS = tuple(range(2, 33, 2))

PROTOCOLS: dict[tuple[str, str], Protocol] = {
  ("ntu60", "cs"): Protocol(
    "subject", _NTU60_SUBJECTS, source="Shahroudy et al. 2016, cross-subject"
  ),
  ("ntu60", "cv"): Protocol(
    "camera", (2, 3), (1,), source="Shahroudy et al. 2016, cross-view"
  ),
  ("ntu120", "cs1"): Protocol(
    "subject", _NTU120_SUBJECTS, source="Liu et al. 2019, cross-subject"
  ),
  ("ntu120", "cs2"): Protocol(
    "setup", _EVEN_SETUPS, source="Liu et al. 2019, cross-setup: even ids train"
  ),
  ("smarthome", "cs"): Protocol(
    "subject",
    _SMARTHOME_TRAIN,
    _SMARTHOME_TEST,
    source="Das et al. 2019, cross-subject",
  ),
  ("smarthome", "cv1"): Protocol(
    "camera",
    (1,),
    (2,),
    validation=(5,),
    classes=_SMARTHOME_CV_CLASSES,
    source="Das et al. 2019, cross-view 1",
  ),
  ("smarthome", "cv2"): Protocol(
    "camera",
    (1, 3, 4, 6, 7),
    (2,),
    validation=(5,),
    classes=_SMARTHOME_CV_CLASSES,
    source="Das et al. 2019, cross-view 2",
  ),
  **{
    ("nucla", f"v{a}{b}_{c}"): Protocol(
      "camera", (a, b), (c,), source=f"Wang et al. 2014, views {a} and {b} train"
    )
    for a, b, c in ((1, 2, 3), (1, 3, 2), (2, 3, 1))
  },
  **{
    ("nucla", f"v{a}_{b}"): Protocol(
      "camera", (a,), (b,), source=f"half of the data: view {a} trains, {b} tests"
    )
    for a, b in ((1, 2), (2, 1))
  },
  ("synthetic", "cs"): Protocol(
    "subject",
    (1, 2, 4, 5, 8, 9),
    source="vpn_jax.datasets.synthetic.generator: 10 subjects",
  ),
  ("synthetic", "cv"): Protocol(
    "camera", (2, 3), (1,), source="vpn_jax.datasets.synthetic.generator: 3 cameras"
  ),
}

# (train, test) clips of the complete download: NTU without the official lists of
# missing skeletons; Smarthome without the class Pour.Fromcup and, for CV1 and CV2, with
# the 19 classes only; N-UCLA with the 1,484 sequences of its skeleton release (516, 504
# and 464 by camera).
EXPECTED_COUNTS: dict[tuple[str, str], tuple[int, int]] = {
  ("ntu60", "cs"): (40_091, 16_487),
  ("ntu60", "cv"): (37_646, 18_932),
  ("ntu120", "cs1"): (63_026, 50_919),
  ("ntu120", "cs2"): (54_468, 59_477),
  ("smarthome", "cs"): (10_682, 5_433),
  ("smarthome", "cv1"): (1_877, 1_901),
  ("smarthome", "cv2"): (7_806, 1_901),
  ("nucla", "v12_3"): (1_020, 464),
  ("nucla", "v13_2"): (980, 504),
  ("nucla", "v23_1"): (968, 516),
  ("nucla", "v1_2"): (516, 504),
  ("nucla", "v2_1"): (504, 516),
}


def names(dataset: str) -> list[str]:
  """The names of a dataset's protocols; "custom" has none."""
  return [name for d, name in PROTOCOLS if d == dataset]


def get(dataset: str, protocol: str, clips: Iterable = ()) -> Protocol:
  """Returns a published protocol.

  Args:
    dataset, protocol: key of `PROTOCOLS`.
    clips: of the dataset, each a `base.Clip`, a record or an entry of `Index.clips()`.
      If the first lacks the attribute of the protocol, because it is from a file that
      was divided already, the parts of that file are returned: attribute `protocol`, or
      "split" where the file does not say how it was divided.
  Raises: ValueError for an unknown protocol, which lists the known ones, or when the
    clips were divided by another one.
  """
  if (dataset, protocol) not in PROTOCOLS:
    known = [f"{d}:{p}" for d, p in PROTOCOLS]
    raise ValueError(
      f"unknown protocol {dataset}:{protocol}, expected one of {known}; for a dataset "
      'of your own, name the values, such as train="subject:1,3" test="subject:5".'
    )
  rule = PROTOCOLS[dataset, protocol]
  attributes = next(iter(map(attributes_of, clips)), {rule.attribute: 0})
  if rule.attribute in attributes:
    return rule
  for attribute in (protocol, "split"):
    if attribute in attributes:
      return Protocol(
        attribute, ("train",), ("test",), classes=rule.classes, source=rule.source
      )
  other = [name for name in names(dataset) if name in attributes]
  if other:
    raise ValueError(
      f"config.data.protocol is {protocol!r}, but the clips are from a file that was "
      f"divided by {other[0]!r}: use configs/{dataset}.py:{other[0]}, or prepare the "
      f"file of {protocol!r}."
    )
  return rule


def applicable(dataset: str, clips: Iterable) -> dict[str, Protocol]:
  """The protocols by which these clips can be split, by name; see `get`."""
  clips, found = list(clips)[:1], {}
  for name in names(dataset):
    try:
      found[name] = get(dataset, name, clips)
    except ValueError:  # divided by another one
      continue
  return found


def parse_value(text: str) -> int | str:
  """Reads the value of an attribute: an integer of up to 18 digits, or text."""
  text = text.strip()
  digits = text.removeprefix("-")
  is_number = digits.isascii() and digits.isdigit() and len(digits) <= 18
  return int(text) if is_number else text


def class_names(protocol: Protocol, all_names: Sequence[str]) -> tuple[str, ...]:
  """The classes of a dataset that a protocol keeps, in label order."""
  kept = all_names if protocol.classes is None else protocol.classes
  return tuple(name for name in all_names if name in kept)


def part(
  protocol: Protocol, attributes: dict[str, int | str], class_name: str | None = None
) -> str | None:
  """The part of a clip: "train", "validation", "test", or None for none of them.

  Args:
    protocol: the rule.
    attributes: of the clip.
    class_name: of the clip, for protocols that keep some classes only; None when the
      caller has selected by class.
  Raises: ValueError when the clip lacks the attribute.
  """
  value = value_of(attributes, protocol.attribute)
  if None not in (protocol.classes, class_name) and class_name not in protocol.classes:
    return None
  if protocol.test is not None and value in protocol.test:
    return "test"
  if not protocol.validation_attribute and value in protocol.validation:
    return "validation"
  if value in protocol.train:
    other = protocol.validation_attribute
    held = other and value_of(attributes, other) in protocol.validation
    return "validation" if held else "train"
  return "test" if protocol.test is None else None


def missing(
  protocol: Protocol, name: str, clips: Iterable
) -> tuple[str, list[int | str]]:
  """The attribute of a part, and those of its values that no clip has.

  Args:
    protocol: the rule.
    name: of the part.
    clips: as in `count`.
  """
  attribute = protocol.attribute
  if name == "validation" and protocol.validation_attribute:
    attribute = protocol.validation_attribute
  present = {attributes_of(clip).get(attribute) for clip in clips}
  values = getattr(protocol, name) or ()
  return attribute, [value for value in values if value not in present]


def value_of(attributes: dict, attribute: str) -> int | str:
  """The value of an attribute; ValueError when a clip lacks it."""
  if attribute not in attributes:
    raise ValueError(
      f"a clip has no {attribute!r}, it has {sorted(attributes)}: split by one of "
      "these."
    )
  return attributes[attribute]


def attributes_of(clip) -> dict:
  """The attributes of a `base.Clip`, a record or an entry of `Index.clips()`."""
  return clip["attributes"] if isinstance(clip, dict) else clip.attributes


def count(
  protocol: Protocol, clips: Iterable, class_names: Sequence[str] | None = None
) -> dict[str, int]:
  """Counts the clips of each part: {"train": n, "validation": n, "test": n}.

  Args:
    protocol: the rule.
    clips: each a `base.Clip`, a record or an entry of `Index.clips()`.
    class_names: of the dataset, in label order; None counts all classes, whichever the
      protocol keeps.
  """
  counts = dict.fromkeys(PARTS, 0)
  for clip in clips:
    label = clip["label"] if isinstance(clip, dict) else clip.label
    chosen = part(
      protocol, attributes_of(clip), class_names[label] if class_names else None
    )
    if chosen:
      counts[chosen] += 1
  return counts


def check_counts(
  dataset: str,
  protocol: str,
  clips: Iterable,
  class_names: Sequence[str] | None = None,
) -> list[str]:
  """Compares the sizes of a split with the published ones.

  Args: see `count`; `dataset` and `protocol` as in `get`.
  Returns: a line for each part that differs, such as "ntu60 cs: train has 1 of 40,091
    clips"; none when the split is complete or no size is published.
  """
  expected = EXPECTED_COUNTS.get((dataset, protocol))
  if expected is None:
    return []
  clips = list(clips)
  counts = count(get(dataset, protocol, clips), clips, class_names)
  return [
    f"{dataset} {protocol}: {name} has {counts[name]:,} of {want:,} clips"
    for name, want in zip(("train", "test"), expected)
    if counts[name] != want
  ]


def describe(
  dataset: str,
  name: str,
  protocol: Protocol,
  clips: Iterable,
  class_names: Sequence[str] | None = None,
) -> str:
  """Describes a split: "ntu60 cs: train 3 of 40,091, test 16,487 of 16,487".

  Args: see `count`; the published sizes are those of (dataset, name).
  """
  counts = count(protocol, clips, class_names)
  expected = dict(zip(("train", "test"), EXPECTED_COUNTS.get((dataset, name), ())))
  parts = [
    f"{part} {n:,}" + (f" of {expected[part]:,}" if part in expected else "")
    for part, n in counts.items()
    if n or part != "validation"
  ]
  complete = expected and all(counts[part] == n for part, n in expected.items())
  return f"{dataset} {name}: {', '.join(parts)}" + (" (complete)" if complete else "")
