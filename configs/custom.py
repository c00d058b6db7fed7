r"""Your own videos.

Either in folders, `<class>/<clip>.mp4`, or `train/<class>/...` and `test/<class>/...`,
with poses by MediaPipe (requirements-pose.txt):

  python launch.py --config=configs/custom.py --job=prepare \
      --config.data.raw=my/videos --config.data.pose=mediapipe
  python launch.py --config=configs/custom.py:split,size=cpu,frozen=True \
      --workdir=runs/my
  python launch.py --config=configs/custom.py --workdir=runs/my --job=figures

Without config.data.pose each video needs its joints beside it, see
vpn_jax/datasets/folders.py.

Or with an index (csv) of columns clip, video, label and any others to split by, and two
files of joints by clip name (npz), 3D in metres and 2D in the image:

  python launch.py --config=configs/custom.py --job=prepare \
      --config.data.index=my/index.csv --config.data.world_joints=my/world.npz \
      --config.data.image_joints=my/image.npz --config.data.skeleton=mediapipe_33
  python launch.py --config=configs/custom.py --workdir=runs/my \
      --config.data.train=subject:1,3,6 --config.data.test=subject:5,8

Or skeletons alone, without videos: files of OpenPose, AlphaPose, MMPose or ultralytics
in folders, `<class>/<clip>.json` or `<class>/<clip>/`, or named in the column `pose` of
an index; or a set that pyskl has prepared:

  python launch.py --config=configs/custom.py:split,model=pose --job=prepare \
      --config.data.raw=my/poses --config.data.skeleton=openpose_25
  python launch.py --config=configs/custom.py:split,model=pose --job=prepare \
      --config.data.raw=gym_hrnet.pkl --config.data.skeleton=coco_17
  python launch.py --config=configs/custom.py:split,model=pose --workdir=runs/my
"""

from configs import common


def get_config(arg="split"):
  arg = common.parse_arg(arg, protocols=("split",))
  c = common.recipe(arg, pose_steps=20, small=True)
  if c.model.get("attention", "none") != "none":
    c.model.attention_scale = "mean"  # else VPN ignores the pose (docs/results.md)
  with c.unlocked():
    c.data.pattern = ""  # of file names: "(?P<subject>[a-z]+)_.*" gives a subject
    c.data.index = ""
    c.data.allow_absolute = False  # True: the index may name videos outside its folder
    c.data.world_joints = ""
    c.data.image_joints = ""
    c.data.image_units = "fraction"  # of the image, or "pixel"
    c.data.pose_format = ""  # "openpose", "alphapose", ...: detected
    c.data.image_size = ""  # "1920x1080": of fractions without a video
    c.data.class_names = ""  # of a set that pyskl has prepared: a file, one on a line
    c.data.train = "split:train"  # column:values of the training part
    c.data.test = "split:test"
  c.data.update(dataset="custom", records="data/custom", skeleton="mediapipe_33")
  return c
