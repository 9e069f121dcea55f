"""What a distribution is: one file for each model, by the field's name."""

from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.gaussian import Gaussian, kl_gaussian
from lecture_pkg.models.lattice import IsingLattice, edwards_anderson
from lecture_pkg.models.mixture import GaussianMixture
from lecture_pkg.models.pretrained import load_weights
from lecture_pkg.models.rbm import RBM

__all__ = [
    "RBM",
    "BoltzmannMachine",
    "Gaussian",
    "GaussianMixture",
    "IsingLattice",
    "edwards_anderson",
    "kl_gaussian",
    "load_weights",
]
