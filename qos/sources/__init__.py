"""Sources: what fills a frame.  `sampler.Sampler` puts them together."""
