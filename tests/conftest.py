"""Every test runs with the shapes of the signatures checked, except those that feed bad input."""

from collections.abc import Iterator

import pytest
import torch
from jaxtyping import config, install_import_hook

install_import_hook("lecture_pkg", "beartype.beartype")


@pytest.fixture(autouse=True)
def _shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """A refusal must come from the package itself, not from the checker that the tests add."""
    config.update("jaxtyping_disable", request.node.get_closest_marker("bad_input") is not None)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(20231116)
