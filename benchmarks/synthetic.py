"""Prints how many synthetic clips one core renders per second of its time.

python -m benchmarks.synthetic
"""

import time

import cv2

from vpn_jax.datasets.synthetic import generator


def main(count: int = 60) -> None:
  """Renders `count` clips at the default settings on one thread; prints one line."""
  cv2.setNumThreads(1)
  generator.make_clip(0, 0)
  start, cpu = time.perf_counter(), time.process_time()
  for index in range(count):
    generator.make_clip(0, index)
  wall, cpu = time.perf_counter() - start, time.process_time() - cpu
  s = generator.Settings()
  print(
    f"{count / cpu:.1f} clips/s of CPU time ({1e3 * cpu / count:.1f} ms per clip of "
    f"{s.num_frames}x{s.height}x{s.width}), {count / wall:.1f} clips/s by the clock"
  )


if __name__ == "__main__":
  main()
