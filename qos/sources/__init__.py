"""Sources fill the columns and readings of a frame.  `sampler.Sampler` puts them together."""
