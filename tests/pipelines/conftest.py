from .scripted import scripts

__all__ = ["scripts"]
