"""Tables 1 to 7 of the paper: their rows, how to run each, and the published numbers.

The numbers are top-1 in percent, for Smarthome the mean over the classes. Rows with a
backbone or an input that this code does not have, such as depth maps, are left out.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Row:
  """A network of the tables.

  Attributes:
    arg: the words of `--config` after the protocol; "" is VPN itself.
    starts_from: the row whose visual backbone it starts from in stage 2 (section 3.3);
      "" for the published weights.
    pose_from: the row whose pose backbone it starts from; an LSTM then stays frozen
      (appendix 2). "" for none.
    teacher: the row whose finished network it learns from; "" for none.
  """

  arg: str
  starts_from: str = ""
  pose_from: str = ""
  teacher: str = ""


POSE_ALONE = "pose alone"
LSTM_ALONE = "pose alone, LSTM"
BEST_RECIPE = ", best recipe"  # at the end of the name of a row with recipe=best
# What a visual backbone adds to the name of a row; one of your own adds its own name.
BACKBONES = {"i3d": "", "resnext3d": "RNX3D101"}
# What a pose backbone, and a stream of poses, append to it.
POSE_BACKBONES = {
  "gcn": "",
  "lstm": ", LSTM",
  "stgcn": ", ST-GCN++",
  "ctrgcn": ", CTR-GCN",
  "agcn": ", AGCN",
}
STREAMS = {
  "joint": "",
  "bone": ", bone",
  "joint_motion": ", joint motion",
  "bone_motion": ", bone motion",
}


# What the classifier reads -> how the row is called, after its network.
HEADS = {"mean": "", "time": ", time kept", "joints": ", joint features"}


def _pose_alone() -> dict[str, Row]:
  """The rows of poses alone, by backbone and stream."""
  rows = {}
  for kind, network in POSE_BACKBONES.items():
    for stream, shown in STREAMS.items():
      words = ["model=pose", *([f"pose_backbone={kind}"] if kind != "gcn" else [])]
      words += [f"stream={stream}"] if stream != "joint" else []
      rows[POSE_ALONE + network + shown] = Row(",".join(words))
  return rows


ROWS = {
  **_pose_alone(),
  "I3D": Row("model=i3d"),
  "I3D, continued": Row("model=i3d_continued", "I3D"),
  "I3D+NL": Row("model=i3d_nl"),
  "P-I3D": Row("model=p_i3d", "I3D", LSTM_ALONE),
  "Separable STA": Row("model=separable_sta", "I3D", LSTM_ALONE),
  "RNX3D101": Row("model=i3d,backbone=resnext3d"),
  "VPN, RNX3D101": Row("backbone=resnext3d", "RNX3D101", POSE_ALONE),
  "VPN without embedding": Row("embedding=none", "I3D", POSE_ALONE),
  "VPN without coupler, LSTM": Row(
    "coupler=False,pose_backbone=lstm", "I3D", LSTM_ALONE
  ),
  "VPN without coupler": Row("coupler=False", "I3D", POSE_ALONE),
  "VPN, LSTM": Row("pose_backbone=lstm", "I3D", LSTM_ALONE),
  "VPN": Row("", "I3D", POSE_ALONE),
  "VPN, ST-GCN++": Row("pose_backbone=stgcn", "I3D", "pose alone, ST-GCN++"),
  "VPN, CTR-GCN": Row("pose_backbone=ctrgcn", "I3D", "pose alone, CTR-GCN"),
  "VPN, AGCN": Row("pose_backbone=agcn", "I3D", "pose alone, AGCN"),
  "VPN, kl_fp": Row("embedding=kl_fp", "I3D", POSE_ALONE),
  "VPN, kl_pf": Row("embedding=kl_pf", "I3D", POSE_ALONE),
  "VPN, contrastive": Row("embedding=contrastive", "I3D", POSE_ALONE),
  "VPN, kl_bi": Row("embedding=kl_bi", "I3D", POSE_ALONE),
  "VPN, spatial attention, without embedding, LSTM": Row(
    "attention=spatial,embedding=none,pose_backbone=lstm", "I3D", LSTM_ALONE
  ),
  "VPN, spatial attention, LSTM": Row(
    "attention=spatial,pose_backbone=lstm", "I3D", LSTM_ALONE
  ),
  "VPN, spatial attention, without embedding": Row(
    "attention=spatial,embedding=none", "I3D", POSE_ALONE
  ),
  "VPN, spatial attention": Row("attention=spatial", "I3D", POSE_ALONE),
  # Not in the paper: VPN without a pose, the head of its released code, and attention
  # and features at the joints.
  "Student": Row("model=student", "I3D", teacher="VPN without embedding"),
  "I3D, time kept": Row("model=i3d,head=time"),
  "VPN, time kept, without embedding": Row(
    "head=time,embedding=none", "I3D", POSE_ALONE
  ),
  "I3D, joint features": Row("model=i3d,head=joints"),
  "VPN, joint features, without embedding": Row(
    "head=joints,embedding=none", "I3D", POSE_ALONE
  ),
  "VPN, aligned attention, without embedding": Row(
    "attention=aligned,embedding=none", "I3D", POSE_ALONE
  ),
  "VPN, aligned attention, joint features, without embedding": Row(
    "attention=aligned,head=joints,embedding=none", "I3D", POSE_ALONE
  ),
}


# Late fusions with a name of their own -> their parts.
FUSIONS = {
  "2s-AGCN": ("pose alone, AGCN", "pose alone, AGCN, bone"),
  **{
    f"{POSE_ALONE}{network}, four streams": tuple(
      POSE_ALONE + network + shown for shown in STREAMS.values()
    )
    for network in POSE_BACKBONES.values()
  },
}


def fusion_name(rows: Sequence[str], joined: str) -> str:
  """The name of the fusion of these rows, whatever their order.

  Args:
    rows: its parts, all of one recipe for a name of its own.
    joined: the name of one that has none of its own.
  """
  recipes = {row.removeprefix(of_any_recipe(row)) for row in rows}
  for name, parts in FUSIONS.items():
    if sorted(parts) == sorted(map(of_any_recipe, rows)) and len(recipes) == 1:
      return name + recipes.pop()
  return joined


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the paper.

  Attributes:
    title: what it compares.
    columns: (dataset, protocol) of each number.
    rows: row, or name of a fusion -> its numbers; None where the paper has none.
  """

  title: str
  columns: tuple[tuple[str, str], ...]
  rows: dict[str, tuple[float | None, ...]]

  def published(self, row: str, dataset: str, protocol: str) -> float | None:
    """The paper's number; None where it has none."""
    if row not in self.rows or (dataset, protocol) not in self.columns:
      return None
    return self.rows[row][self.columns.index((dataset, protocol))]


_ABLATION = (
  ("ntu120", "cs1"),
  ("ntu120", "cs2"),
  ("smarthome", "cs"),
  ("smarthome", "cv2"),
)
_NTU = (("ntu60", "cs"), ("ntu60", "cv"), ("ntu120", "cs1"), ("ntu120", "cs2"))
_SMARTHOME = (("smarthome", "cs"), ("smarthome", "cv1"), ("smarthome", "cv2"))

TABLES = {
  1: Table(
    "The components of VPN",
    _ABLATION,
    {
      "I3D": (77.0, 80.1, 53.4, 45.1),
      "I3D, continued": (None,) * 4,
      "VPN without embedding": (85.4, 86.9, 56.4, 50.5),
      "VPN": (86.3, 87.8, 60.8, 53.5),
    },
  ),
  2: Table(
    "Pose backbone and coupler",
    _ABLATION,
    {
      "VPN without coupler, LSTM": (84.7, 83.6, 57.1, 50.6),
      "VPN without coupler": (85.6, 86.8, 60.1, 53.1),
      "VPN, LSTM": (85.3, 84.1, 57.6, 51.5),
      "VPN": (86.3, 87.8, 60.8, 53.5),
    },
  ),
  3: Table(
    "The embedding loss",
    _ABLATION,
    {
      "VPN, kl_fp": (85.5, 87.1, 57.2, 50.9),
      "VPN, kl_pf": (85.6, 86.9, 57.0, 51.1),
      "VPN, kl_bi": (86.1, 87.2, 57.2, 51.7),
      "VPN, contrastive": (None,) * 4,
      "VPN": (86.3, 87.8, 60.8, 53.5),
    },
  ),
  4: Table(
    "The embedding with spatial attention alone",
    _ABLATION,
    {
      "VPN, spatial attention, without embedding, LSTM": (81.7, 81.2, 45.5, 50.0),
      "VPN, spatial attention, LSTM": (82.7, 82.0, 56.5, 52.6),
      "VPN, spatial attention, without embedding": (82.6, 84.3, 49.1, 51.7),
      "VPN, spatial attention": (83.1, 85.3, 58.4, 53.1),
    },
  ),
  5: Table(
    "NTU RGB+D 60 and 120",
    _NTU,
    {
      "2s-AGCN": (None, None, 82.9, 84.9),
      "I3D": (None, None, 77.0, 80.1),
      "Separable STA": (92.2, 94.6, 83.8, 82.5),
      "P-I3D": (93.0, 95.4, None, None),
      "VPN": (93.5, 96.2, 86.3, 87.8),
      "VPN, RNX3D101": (95.5, 98.0, None, None),
    },
  ),
  6: Table(
    "Toyota Smarthome",
    _SMARTHOME,
    {
      "I3D": (53.4, 34.9, 45.1),
      "I3D+NL": (53.6, 34.3, 43.9),
      "P-I3D": (54.2, 35.1, 50.3),
      "Separable STA": (54.2, 35.2, 50.3),
      "VPN": (60.8, 43.8, 53.5),
    },
  ),
  7: Table(
    "N-UCLA",
    (("nucla", "v12_3"),),
    {"Separable STA": (92.4,), "P-I3D": (93.1,), "VPN": (93.5,)},
  ),
}


def published(row: str, dataset: str, protocol: str) -> float | None:
  """The paper's number of a row, from any table; None where no table has it."""
  for table in TABLES.values():
    number = table.published(row, dataset, protocol)
    if number is not None:
      return number
  return None


def row_name(arg: dict) -> str:
  """The name of the row that the words of `--config` ask for.

  Args:
    arg: word -> value, of model, backbone, pose_backbone, stream, coupler, attention,
      head and embedding.
  """
  head = HEADS[arg.get("head", "mean")]
  stream = STREAMS[arg["stream"]]
  pose = POSE_BACKBONES[arg["pose_backbone"]] + stream
  other = BACKBONES.get(arg["backbone"], arg["backbone"])
  of_model = {
    "pose": POSE_ALONE + pose,
    "student": ", ".join(filter(None, ("Student", other))),
    "i3d": (other or "I3D") + head,
    "i3d_continued": f"{other or 'I3D'}, continued{head}",
    "i3d_nl": f"{other or 'I3D'}+NL{head}",
    "p_i3d": ", ".join(filter(None, ("P-I3D", other))) + stream,
    "separable_sta": ", ".join(filter(None, ("Separable STA", other))) + stream,
  }
  if arg["model"] != "vpn" or arg["attention"] == "none":
    return of_model.get(arg["model"], of_model["i3d"])
  words = ["VPN without coupler" if not arg["coupler"] else "VPN"]
  if arg["attention"] in ("spatial", "aligned"):
    words.append(f"{arg['attention']} attention")
  if head:
    words.append(head.removeprefix(", "))
  if other:
    words.append(other)
  if arg["embedding"] == "none" and len(words) == 1:
    words[0] += " without embedding"
  elif arg["embedding"] == "none":
    words.append("without embedding")
  elif arg["embedding"] != "euclidean":
    words.append(arg["embedding"])
  return ", ".join(words) + pose


def of_any_recipe(name: str) -> str:
  """The name of a row without its recipe, as in `ROWS`."""
  return name.removesuffix(BEST_RECIPE)
