"""The settings of the jobs, a block of the configuration each.

Training and evaluation read the blocks of `configs/common.py`.
"""


def prepare() -> dict:
  """The records and how they are made."""
  return dict(
    workers=-1,  # processes; -1: one per core, 0: none beside this one
    clips_per_shard=32,
    clip_seconds=3600.0,  # a clip that takes a worker longer is skipped; 0: none
    max_skipped=0.1,  # share of the clips that may be damaged
    retry=False,  # make shards with skipped clips again
    dry_run=False,  # only count
    verify=False,  # only read the records again, and draw some of them
    crop="person",  # around joints or config.data.boxes; "full": the whole frame
    size=256,  # side of the crop, pixels
    slack=0.1,  # of the person's extent, on each side
    head_room=0.1,  # of it, above the joints; not above boxes
    moving=0,  # 0: one box per clip; else it follows, smoothed over these frames
    jpeg_quality=92,
  )


def fuse() -> dict:
  """Late fusion."""
  return dict(
    weights="",  # such as "2,1", one for each run; "" for equal ones
    output="",  # folder of the fused run; "" for a sibling of the first one
  )


def sweep() -> dict:
  """The runs of whole tables."""
  return dict(
    tables="1,2,3,4",
    rows="",  # names, also of fusions, separated by ";", instead of those of the tables
    fuse="",  # rows whose scores are summed in the end: "VPN + pose alone; I3D + VPN"
    protocols="",  # such as "cs,cv"; "" for that of --config
    seeds="0,1,2",
    parallel=1,  # runs at a time
    dry_run=False,
  )


def predict() -> dict:
  """A user's own video, or poses."""
  return dict(
    video="",  # a file, the number of a webcam, or a stream: rtsp://..., http://...
    # Skeleton file, npz with `world` and `image`, or "mediapipe"; without a video also
    # a folder of such files.
    pose="",
    pose_model="",  # of "mediapipe"; "": pose_landmarker_full.task, fetched once
    pose_people=0,  # the most whom it follows; 0: as many as the network takes
    boxes="",  # detections, for a network trained on such crops
    image_units="fraction",  # of `image`, or "pixel"
    pose_format="",  # "openpose", "alphapose", ...: detected
    image_size="",  # "1920x1080": of fractions without a video
    top=5,
    window_stride=0,  # frames; 0: no overlap
    max_windows=0,  # 0: the whole video
    short_side=256,  # pixels; without a workdir
    json="",
    csv="",  # a line for each clip
    timeline="",  # .png: the classes over time
    overlay="",  # .mp4
  )


def figures() -> dict:
  """Pictures of finished runs; docs/figures.md says which figure takes which."""
  return dict(
    only="",  # names of figures separated by commas; "" for all
    classes="",  # look-alikes, separated by ";"; "" for those that the runs mix up most
    pairs="",  # of radar, such as "hop|jump;cup|can"; "" for those mixed up most
    clips="",  # names of test clips, separated by ";"; "" for one of each look-alike
    times=(0.1, 0.35, 0.6, 0.85),  # of heatmaps, fractions of the clip
    top=5,  # classes of top_gains
    clips_per_class=40,  # at most, of tsne and dynamicity
    zoom="",  # the first class of the block; "" for the block mixed up most
    zoom_size=10,  # classes of the block
  )


def explain() -> dict:
  """Tests of the explanations."""
  return dict(
    clips_per_class=5,  # at most, of the test part, spread evenly over it
    steps=10,  # of the curves over frames; those over joints go joint by joint
  )


def robustness() -> dict:
  """Accuracy against damaged poses; the levels of each kind, separated by commas."""
  return dict(
    noise="0.02,0.05,0.1,0.2",  # metres
    joint_drop="0.1,0.2,0.4,0.6",
    frame_drop="0.1,0.3,0.5,0.8",
    shift="0.1,0.2,0.4,0.8",  # seconds
  )


def export() -> dict:
  """A trained network in one file."""
  return dict(
    file="",  # what --job=export writes, such as vpn.zip
    batch=0,  # clips at a time; 0: any number
    platforms="cpu,cuda",  # that it runs on; also "tpu" and "rocm"
  )


def all_jobs() -> dict[str, dict]:
  """The blocks by the name of their job."""
  jobs = (prepare, fuse, sweep, predict, figures, explain, robustness, export)
  return {job.__name__: job() for job in jobs}
