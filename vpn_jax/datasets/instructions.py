"""Where to get each dataset, and the command that prepares it."""

_SOURCES = {
  "synthetic": "The clips are rendered on this machine",
  "custom": "Put your videos in a folder, <class>/<clip>.mp4, or write an index",
  "ntu60": "Request NTU RGB+D at https://rose1.ntu.edu.sg/dataset/actionRecognition/",
  "ntu120": "Request NTU RGB+D at https://rose1.ntu.edu.sg/dataset/actionRecognition/",
  "smarthome": "Request Toyota Smarthome at https://project.inria.fr/toyotasmarthome/",
  "nucla": "Download N-UCLA from https://wangjiangb.github.io/my_data.html",
}
_PROTOCOLS = {
  "synthetic": "cs",
  "custom": "split",
  "ntu60": "cs",
  "ntu120": "cs2",
  "smarthome": "cs",
  "nucla": "v12_3",
}


def how_to_prepare(dataset: str) -> str:
  """Returns a sentence: where to get a dataset, and the command that prepares it."""
  command = f"python launch.py --config=configs/{dataset}.py:{_PROTOCOLS[dataset]}"
  if dataset == "synthetic":
    return f"{_SOURCES[dataset]}: run `{command} --job=prepare`."
  if dataset == "custom":
    return f"{_SOURCES[dataset]} as configs/custom.py says, and run `{command} ...`."
  # N-UCLA's skeletons have no joints in the image to crop by.
  boxes = " --config.data.boxes=<file, or mediapipe>" if dataset == "nucla" else ""
  return (
    f"{_SOURCES[dataset]}, unpack it, and run `{command} --job=prepare "
    f"--config.data.raw=<folder>{boxes}`."
  )
