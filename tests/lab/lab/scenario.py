"""The files of scenarios/: each has run(lab), or story(lab), which begins and ends with a healthy cluster and two paths."""

import importlib.util
import pathlib
from types import ModuleType

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "scenarios"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"scenario_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def title(module: ModuleType) -> str:
    return (module.__doc__ or "").splitlines()[0]


def is_story(module: ModuleType) -> bool:
    """True exactly when `faults` tells it, among others in one lab."""
    return hasattr(module, "story")


def play(module: ModuleType, lab) -> None:
    if is_story(module):
        lab.up_with_paths()
        module.story(lab)
    else:
        module.run(lab)
