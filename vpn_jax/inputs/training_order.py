"""The order in which training shows the clips: endless, and a function of its seed."""

from collections.abc import Sequence

import grain
import numpy as np

_EPOCHS = 10_000_000  # "endless", with a length that still counts in 64 bits


def shuffled(clips: int, seed: int) -> grain.MapDataset:
  """Positions 0 to clips - 1, each once per epoch, in an order drawn anew."""
  return grain.MapDataset.source(range(clips)).seed(seed).shuffle().repeat(_EPOCHS)


def balanced(labels: Sequence[int], seed: int) -> grain.MapDataset:
  """Positions in `labels`, such that all classes occur equally often.

  Every K clips in a row, from the first on, have each of the K classes with a clip here
  once, in an order drawn anew. The clips of a class come in passes: each once per pass,
  in an order drawn anew. So the clips of a small class are repeated, and those of a
  large one wait for their turn.
  """
  members: dict[int, list[int]] = {}
  for i, label in enumerate(labels):
    members.setdefault(label, []).append(i)
  seeds = np.random.SeedSequence(seed).generate_state(len(members) + 1)
  classes = [
    grain.MapDataset.source(members[label]).shuffle(int(own)).repeat(_EPOCHS)
    for label, own in zip(sorted(members), seeds[1:])
  ]
  return grain.experimental.WindowShuffleMapDataset(
    grain.MapDataset.mix(classes).seed(seed),
    window_size=len(classes),
    seed=int(seeds[0]) // 2,  # room for the number of the window in 32 bits
  )
