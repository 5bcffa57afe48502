"""Annotation simulated round by round: a made-up person follows query strategies and pays in seconds."""

from medcl.benchmark.simulation.recipe import AnnotationRecipe, load_annotation_recipe
from medcl.benchmark.simulation.run import plan_simulation, simulate_annotation

__all__ = ["AnnotationRecipe", "load_annotation_recipe", "plan_simulation", "simulate_annotation"]
