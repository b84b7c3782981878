"""The checks of ``caxton doctor``, by group."""
