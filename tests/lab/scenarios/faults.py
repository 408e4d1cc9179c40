"""Nodes that hang, links that are cut, a disk that fails, old data: one after another in one lab, each ends with a healthy cluster."""

import importlib.util
import pathlib

from lab import faults

STORIES = ("stale_first", "isolated", "replication_cut", "split", "corosync_cut", "disk_error", "hang")
SECONDS_MAX = 3000


def run(lab):
    faults.begin(lab)
    for name in STORIES:
        spec = importlib.util.spec_from_file_location(f"story_{name}", pathlib.Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        lab.say(f" {name}: {module.__doc__.splitlines()[0]}")
        module.story(lab)
