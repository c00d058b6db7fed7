"""What a user asks of a clip: its video, its poses, and how windows are laid."""

import dataclasses
import pathlib

from vpn_jax.inference import stream


@dataclasses.dataclass(frozen=True)
class Options:
  """A video and how it is scored; the job "predict" fills it from `config.predict`.

  Attributes:
    video: a file, the number of a webcam or the address of a stream; "" for poses
      alone.
    pose: skeleton file of the dataset, npz with `world` and `image` (see
      `single_clip.Single`), or "mediapipe"; "" for networks of frames alone.
    pose_model: path of a bundle for "mediapipe"; "" for the one that is fetched once.
    pose_people: the most people that "mediapipe" follows; 0 for those that the network
      takes.
    boxes: file of detections or "mediapipe", for a network trained on such crops.
    image_units: of `image`: "fraction" of the frame, or "pixel".
    pose_format: of the file of a pose estimator; "" to detect it.
    image_size: such as "1920x1080", for poses alone in fractions.
    window_stride: frames from one window to the next; 0 for no overlap.
    short_side: pixels, of the frames that I3D with Kinetics weights is shown.
  Raises: FileNotFoundError without the video, or without both; ValueError for a
    negative number, or poses by MediaPipe without a video.
  """

  video: str = ""
  pose: str = ""
  pose_model: str = ""
  pose_people: int = 0
  boxes: str = ""
  image_units: str = "fraction"
  pose_format: str = ""
  image_size: str = ""
  window_stride: int = 0
  short_side: int = 256

  def __post_init__(self):
    object.__setattr__(self, "video", stream.plain(self.video))
    if not self.video and self.pose in ("", "mediapipe"):
      raise FileNotFoundError(
        "config.predict.video is not set: add --config.predict.video=<a video file, "
        "the number of a webcam or the address of a stream>, or, for a network of "
        "poses, --config.predict.pose=<a file of joints>."
      )
    if (
      self.video
      and not stream.is_live(self.video)
      and not pathlib.Path(self.video).is_file()
    ):
      raise FileNotFoundError(
        f"no file {self.video}: config.predict.video is a video file, the number of "
        "a webcam or the address of a stream."
      )
    if self.pose_people < 0:
      raise ValueError(
        f"config.predict.pose_people is {self.pose_people}, expected 0 or more."
      )
    if self.window_stride < 0:
      raise ValueError(
        f"config.predict.window_stride is {self.window_stride}, expected 0 or more."
      )
