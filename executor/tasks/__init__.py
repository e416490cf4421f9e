"""Tasks as processes: started, limited, watched, ended to the last child.  Knows nothing of contentions."""
