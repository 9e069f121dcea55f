"""What a distribution is: one file for each model, by the field's name."""

from lecture_pkg.models.boltzmann import BoltzmannMachine

__all__ = ["BoltzmannMachine"]
