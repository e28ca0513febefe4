"""How parents, overlays and options become one recipe, and where each value came from."""

from __future__ import annotations

from builder.steps.profiles import load_recipe
from builder.verbs.show import DEFAULT, show
from tests.profiles.sample import Sample


def test_mappings_merge_deep_lists_append_else_replace(sample: Sample) -> None:
    profile = load_recipe(sample.project, "small").profile
    assert profile.image.hostname == "small"
    assert profile.kernel.command_line == ("quiet",)
    assert profile.overlays == ("core", "web")
    assert profile.packages == ("nano", "less", "vim")
    assert profile.architectures == ("amd64",)


def test_description_and_abstract_are_not_inherited(sample: Sample) -> None:
    profile = load_recipe(sample.project, "small").profile
    assert profile.description == "a small image"
    assert not profile.abstract
    assert profile.extends == ("base",)


def test_options_merge_over_defaults(sample: Sample) -> None:
    sample.add("profiles/base.yaml", "  web:\n    colour: green\n    ports: [ssh]\n")
    options = load_recipe(sample.project, "small").options
    assert options["core"] == {"level": 3, "ratio": 0.5, "room": "200M"}
    assert options["web"] == {"title": "Hello", "colour": "green", "open": False, "ports": ("ssh", "eighty")}


def test_parents_are_merged_in_their_order_each_once(sample: Sample) -> None:
    for name, parents in (("left", "[base]"), ("right", "[base]")):
        sample.write(
            f"profiles/{name}.yaml",
            f"description: d\nabstract: true\nextends: {parents}\nimage: {{hostname: {name}}}\npackages: [{name}]\n",
        )
    sample.write("profiles/both.yaml", "description: d\nextends: [left, right]\n")
    profile = load_recipe(sample.project, "both").profile
    assert profile.image.hostname == "right"
    assert profile.packages == ("nano", "less", "left", "right")
    sample.swap("profiles/both.yaml", "[left, right]", "[right, left]")
    profile = load_recipe(sample.project, "both").profile
    assert profile.image.hostname == "left"
    assert profile.packages == ("nano", "less", "right", "left")


def test_a_mapping_replaces_a_scalar_and_the_other_way_round(sample: Sample) -> None:
    """The kind of a value is the youngest's; where it came from follows it."""
    sample.swap("profiles/base.yaml", "    level: 3", "    level: {odd: 1}")
    sample.add("profiles/small.yaml", "  core:\n    level: 4\n")
    recipe = load_recipe(sample.project, "small")
    assert recipe.options["core"]["level"] == 4
    assert recipe.origins["options", "core", "level"] == sample.at("profiles/small.yaml", "level: 4")
    assert ("options", "core", "level", "odd") not in recipe.origins


def test_merging_leaves_the_parent_as_it_is(sample: Sample) -> None:
    load_recipe(sample.project, "small")
    assert load_recipe(sample.project, "base").profile.packages == ("nano", "less")


def test_digest_covers_what_is_said_and_nothing_else(sample: Sample) -> None:
    before = load_recipe(sample.project, "small").digest()
    sample.add("profiles/small.yaml", "# a comment\n")
    sample.write("overlays/core/tests/test_core.py", "")
    assert load_recipe(sample.project, "small").digest() == before
    elsewhere = Sample(sample.root.parent / "elsewhere")
    assert load_recipe(elsewhere.project, "small").digest() == before
    changes = (
        ("profiles/base.yaml", "level: 3", "level: 4"),
        ("overlays/core/tree/etc/secret", "hidden", "shown"),
        ("overlays/core/overlay.yaml", "a.service", "b.service"),
        ("profiles/small.yaml", "vim", "emacs"),
    )
    seen = {before}
    for name, old, new in changes:
        sample.swap(name, old, new)
        seen.add(load_recipe(sample.project, "small").digest())
    assert len(seen) == 1 + len(changes)


def test_explain_names_the_file_and_line_of_every_value(sample: Sample) -> None:
    shown = show(sample.workbench(), "small")
    origins = {item.key: item.origin for item in shown.explained}

    def at(name: str, text: str) -> str:
        return sample.at(name, text).removeprefix(f"{sample.root}/")

    assert origins["image.hostname"] == at("profiles/small.yaml", "hostname")
    assert origins["kernel.command_line[0]"] == at("profiles/base.yaml", "quiet")
    assert origins["packages[1]"] == at("profiles/base.yaml", "packages")
    assert origins["packages[2]"] == at("profiles/small.yaml", "packages")
    assert origins["overlays[1]"] == at("profiles/small.yaml", "overlays")
    assert origins["suite"] == DEFAULT
    assert {item.value for item in shown.explained if item.key.startswith("packages[")} == {"nano", "less", "vim"}


def test_show_tells_options_with_type_default_meaning_and_place(sample: Sample) -> None:
    options = {(option.overlay, option.name): option for option in show(sample.workbench(), "small").options}
    level = options["core", "level"]
    assert (level.type, level.value, level.default, level.description) == ("integer", 3, 1, "how much")
    assert level.origin == sample.at("profiles/base.yaml", "level").removeprefix(f"{sample.root}/")
    assert options["core", "ratio"].origin == DEFAULT
    assert options["web", "ports"].value == ("eighty",)
