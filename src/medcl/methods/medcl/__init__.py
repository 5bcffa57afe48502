"""MedCL: mix features within and between images, cluster them, regularise the anatomy distribution."""

from medcl.methods.medcl.method import MedCL

__all__ = ["MedCL"]
