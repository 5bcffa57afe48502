"""Adapting a trained model to images of another scanner, without its training images and without a label."""
