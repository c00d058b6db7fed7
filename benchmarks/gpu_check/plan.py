"""What is measured, in which order, and how much time each part has.

The first cases of a part matter most: a part that runs out of time leaves the others
for the next run. Most time goes into trying the algorithms of convolutions, which takes
longer the larger the batch is.
"""

import dataclasses
import itertools

# Part -> seconds of 470, in the order in which they run. What one does not use, those
# behind it have.
PARTS = {
  "ceilings": 20,
  "parity": 70,
  "speed": 170,
  "hlo": 30,
  "kernels": 25,
  "transfer": 25,
  "versus": 95,
  "operations": 35,
}
SECONDS = sum(PARTS.values())
NETWORKS = ("i3d", "vpn", "vpn_rnx")
# XLA for CUDA lays three-dimensional convolutions out channels first unless this is
# set; ours, like PyTorch's fast path, are written channels last.
NHWC = {"xla_gpu_force_conv_nhwc": True}


class Skip(Exception):
  """Why a case cannot be measured here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """The cases of a size; a case is a dict that `title` turns into its name.

  Attributes:
    size: of `configs.common.SIZES`.
    narrow: whether the networks are cut down to what compiles in seconds.
    main: the program that is looked into.
    speed: programs that are timed.
    parity: comparisons of `parity.CASES`.
    versus: programs that are compared with PyTorch, and with which of its programs.
    layers: of `benchmarks.ops.layers`.
    clips: batch, frames, pixels and width of these layers.
    repeats: timed runs of every program.
    copied: bytes of the array that is copied on the device.
    seconds: for all parts together.
  """

  size: str
  narrow: bool
  main: dict
  speed: tuple[dict, ...]
  parity: tuple[str, ...]
  versus: tuple[dict, ...]
  layers: tuple[str, ...]
  clips: tuple[int, int, int, float]
  repeats: int
  copied: int
  seconds: float


def case(network, what="train", dtype="bfloat16", batch=8, **more) -> dict:
  """One program; `more` is remat, nhwc, form or versus, where it has one."""
  return dict(network=network, what=what, dtype=dtype, batch=batch, **more)


def title(case: dict) -> str:
  """The name of a case: "vpn train bfloat16 batch=16 remat=True"."""
  words = [str(v) for k, v in case.items() if k in ("network", "what", "dtype", "case")]
  rest = {
    k: v for k, v in case.items() if k not in ("network", "what", "dtype", "case")
  }
  return " ".join([*words, *(f"{k}={v}" for k, v in rest.items())])


def _full_speed() -> tuple[dict, ...]:
  first = [case(network) for network in ("vpn", "i3d", "vpn_rnx")]
  first += [case("vpn", nhwc=True), case("vpn_rnx", nhwc=True)]
  first += [case("vpn", form="cpu")]  # convolves frames, which are channels last
  first += [case(network, dtype="float32") for network in ("vpn", "i3d", "vpn_rnx")]
  first += [case(network, "forward") for network in ("vpn", "i3d", "vpn_rnx")]
  first += [case(network, batch=16) for network in ("vpn", "i3d", "vpn_rnx")]
  first += [case("vpn", batch=32), case("vpn", batch=32, remat=True)]
  rest = [
    case(network, what, dtype, batch, **({"remat": True} if remat else {}))
    for batch, remat, dtype, what, network in itertools.product(
      (16, 32, 4, 8),
      (False, True),
      ("bfloat16", "float32"),
      ("train", "forward"),
      NETWORKS,
    )
    if what == "train" or not remat  # forward alone keeps nothing
  ]
  return (*first, *(c for c in rest if c not in first))


FULL = Plan(
  size="full",
  narrow=False,
  main=case("vpn"),
  speed=_full_speed(),
  parity=("kinetics float32", "kinetics bfloat16", "kinetics TF32", "host"),
  versus=(
    *(case(network, versus="torch-eager") for network in ("vpn", "vpn_rnx", "i3d")),
    case("vpn", versus="torch"),
    case("vpn", "forward", versus="torch-eager"),
    case("vpn", dtype="float32", versus="torch-eager"),
    case("vpn_rnx", versus="torch"),
    case("i3d", versus="torch"),
  ),
  layers=(
    "conv 3x3x3 2c",
    "conv 1x1x1 2b",
    "conv 7x7x7 /2 stem",
    "pool 3x3x3",
    "conv 3x3x3 3b",
    "conv 3x3x3 4b",
    "pool 1x3x3 /1,2,2",
    "pool 3x3x3 /2",
  ),
  clips=(8, 64, 224, 1.0),
  repeats=7,
  copied=1 << 30,
  seconds=SECONDS,
)
_TINY = case("vpn", dtype="float32", batch=2)
TINY = Plan(
  size="tiny",
  narrow=True,
  main=_TINY,
  speed=(
    _TINY,
    case("vpn", batch=2, nhwc=True),
    case("vpn", dtype="float32", batch=2, remat=True),
    case("i3d", "forward", batch=4),
    case("vpn_rnx", dtype="float32", batch=2),
  ),
  parity=("kinetics float32", "kinetics bfloat16", "host"),
  versus=(case("vpn", dtype="float32", batch=2, versus="torch-eager"),),
  layers=("conv 1x1x1 2b", "pool 3x3x3"),
  clips=(2, 16, 64, 0.25),
  repeats=2,
  copied=1 << 24,
  seconds=3 * SECONDS,  # enough for two cores that have other work
)
PLANS = {plan.size: plan for plan in (FULL, TINY)}
