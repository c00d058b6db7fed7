"""The paper's rows and numbers beside one's own runs."""
