"""The annotation page: draw, train, correct, and where to draw next."""
