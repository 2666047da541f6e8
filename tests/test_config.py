"""Settings: every recipe is valid, survives JSON, and `--set` changes just what it names."""

import dataclasses
import json

import pytest

from melanoma_tf import config as configuration
from melanoma_tf.errors import UserError

RECIPES = configuration.recipes()


def test_the_recipes_are_files_of_the_folder():
    assert {"demo", "b0_256", "b3_384", "ham10000_b0_128"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_survives_json(name):
    recipe = configuration.override(configuration.load_recipe(name), [])
    assert recipe.name == name
    assert configuration.from_json(json.dumps(configuration.to_json(recipe))) == recipe


def test_set_changes_what_it_names_and_nothing_else():
    before = configuration.load_recipe("demo")
    after = configuration.override(
        before, ["train.epochs=7", "model.metadata=true", "seed=3", "train.schedule=constant"]
    )
    changed = {
        key: value for key, value in configuration.flatten(after).items() if configuration.flatten(before)[key] != value
    }
    assert changed == {"train.epochs": 7, "model.metadata": True, "seed": 3, "train.schedule": "constant"}


@pytest.mark.parametrize(
    "setting", ["train.schedule=cosin", "predict.views=3", "model.metadata=maybe", "name=x", "train=3"]
)
def test_wrong_settings_are_user_errors(setting):
    with pytest.raises(UserError):
        configuration.override(configuration.load_recipe("demo"), [setting])


def test_every_range_and_choice_is_of_a_setting():
    known = configuration.flatten(configuration.Config())
    assert set(configuration.RANGES) | set(configuration.CHOICES) <= set(known)
    assert all(
        dataclasses.is_dataclass(getattr(configuration.Config(), key.split(".")[0])) for key in configuration.RANGES
    )


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 1, "colour": 2}', '{"train": {"epochz": 1}}'])
def test_a_config_file_of_something_else_is_a_user_error(text):
    with pytest.raises(UserError, match="config"):
        configuration.from_json(text, "run/config.json")
