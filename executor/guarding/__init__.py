"""Who is corrected, and how far: from findings to actions.  No I/O, and no clock but the one passed in."""
