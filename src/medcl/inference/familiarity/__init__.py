"""Is this scan like the ones that the model learned from? Scores per scan, maps per voxel. See docs/familiar.md."""
