"""Methods x data sets x seeds: train, score and compare, with statistics. A recipe says what, a folder holds it all."""

from medcl.benchmark.recipe import Recipe, load_recipe
from medcl.benchmark.run import plan_benchmark, run_benchmark
from medcl.benchmark.running import BenchmarkResult

__all__ = ["Recipe", "load_recipe", "plan_benchmark", "run_benchmark", "BenchmarkResult"]
