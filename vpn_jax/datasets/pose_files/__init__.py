"""Files of pose estimators: OpenPose, AlphaPose, MMPose, ultralytics."""
