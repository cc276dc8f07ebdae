"""Tasks, and everything needed to play, record, score and report them."""
