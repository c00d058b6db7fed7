"""What prepare says of the clips it found and made, as lines of text."""

import re

from vpn_jax.datasets import base, protocol_settings, protocols
from vpn_jax.datasets.base import Clip, Dataset
from vpn_jax.records import counts

Reasons = list[tuple[str, str]]  # (name of a clip, why it is left out)


def by_reason(skipped: Reasons) -> list[str]:
  """A line for each kind of reason, frequent first: number, reason and clip.

  Reasons that differ in names and numbers are one kind; its first clip stands for it.
  """
  groups: dict[str, Reasons] = {}
  for name, reason in skipped:
    plain = reason.replace(name, "...").replace(name.rpartition("/")[2], "...")
    groups.setdefault(re.sub(r"[\d.,]*\d", "#", plain), []).append((name, reason))
  return [
    f"{len(group):,} x {one_line(group[0][1])} ({one_line(group[0][0])})"
    for group in sorted(groups.values(), key=len, reverse=True)
  ]


def of_listing(dataset: Dataset, clips: list[Clip], left_out: Reasons) -> list[str]:
  """What a dataset lists, before a clip is opened."""
  found = [*by_reason(left_out), *base.notes(dataset)]
  return [
    f"{dataset.name}: {len(clips):,} clips, {len(left_out):,} left out by name",
    *(f"  {line}" for line in found),
  ]


def of_parts(data, name: str, clips: list, class_names) -> list[str]:
  """How the protocols divide clips, and the parts of each class by the one of `data`.

  Args:
    data: `config.data`.
    name: of the dataset.
    clips: each a `base.Clip` or an entry of `Index.clips()`.
    class_names: in label order.
  """
  lines = [
    protocols.describe(name, known, rule, clips, class_names)
    for known, rule in protocols.applicable(name, clips).items()
  ]
  protocol, unknown = None, []
  if data.get("protocol") or data.get("train"):
    try:
      protocol = protocol_settings.from_config(data, clips)
      lines += counts.missing_values(protocol, clips)
      lines += counts.by_class(class_names, clips, protocol)
    except ValueError as e:
      protocol, unknown = None, [f"the parts are not known yet: {e}"]
  if protocol is None:
    lines += [*counts.by_class(class_names, clips, None), *unknown]
  return [f"  {line}" for line in lines]


def one_line(text: str) -> str:
  return " ".join(text.split())
