"""Tasks as processes: started, limited, watched, ended to the last child.  Knows of no contention and no correction."""
