"""Nodes that hang, links that are cut, a disk that fails, old data: one after another in one lab, each ends with a healthy cluster."""

from lab import scenario

SECONDS_MAX = 3000


def run(lab):
    lab.up_with_paths()
    for name in scenario.names():
        module = scenario.load(name)
        if scenario.is_story(module):
            lab.say(f" {name}: {scenario.title(module)}")
            module.story(lab)
