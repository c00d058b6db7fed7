"""The networks of the paper: frames and poses -> class scores."""
