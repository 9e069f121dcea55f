"""pyproject.toml, constraints.txt and environment.yml describe one and the same set of packages."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = {
    canonicalize_name(requirement.name): requirement
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line.strip() and not line.startswith(("#", "-"))
    for requirement in [Requirement(line)]
}


def test_every_constraint_is_one_exact_version():
    for requirement in PINNED.values():
        assert re.fullmatch(r"==[^*]+", str(requirement.specifier)), str(requirement)


def test_every_requirement_is_pinned_to_a_version_it_allows():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        pin = PINNED[canonicalize_name(requirement.name)]
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version.split("+")[0]), str(requirement)


def test_conda_installs_the_same_set_through_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *conda, pip = environment["dependencies"]
    assert sorted(re.split(r"[<>=]", package)[0] for package in conda) == ["pip", "python"]
    python = next(package for package in conda if package.startswith("python"))
    version = re.search(r"\d+\.\d+", python)[0]
    assert version in SpecifierSet(PROJECT["requires-python"])
    lines = [line.replace("--constraint ", "-c ") for line in pip["pip"]]
    assert "-c constraints.txt" in lines
    (editable,) = [line for line in lines if line not in ("-c constraints.txt",) and "." in line]
    extras = set(re.search(r"\[(.+)\]", editable)[1].split(","))
    assert {"book", "test"} <= extras <= set(PROJECT["optional-dependencies"])
    assert all(line.startswith("-") for line in lines), "a package is named outside pyproject.toml"
