"""The published schema: valid itself, and of one mind with `parse`."""

from __future__ import annotations

import pytest
import yaml
from jsonschema import Draft202012Validator

from pipelines.definition.kinds import KINDS, Kind
from pipelines.definition.parse import parse
from pipelines.definition.schema import FILE, STAGE, json_schema
from tests.definition.test_parse import ROOT, WHOLE
from tests.definition.test_problems import CASES

VALIDATOR = Draft202012Validator(json_schema())

# What the schema can say too, of the mistakes that `parse` reports.
FOUND = [
    "unknown key",
    "unknown top key",
    "missing key",
    "no stages",
    "unknown kind",
    "no environment",
    "bad name",
    "bad duration",
    "duration without unit",
    "list expected",
    "flag expected",
    "no quorum",
    "too many retries",
    "retry on",
    "gate without gate",
    "needs and depends",
    "with",
]


class _Yaml12(yaml.SafeLoader):
    """Without YAML 1.1's booleans, as `parse` and editors read it."""


_Yaml12.yaml_implicit_resolvers = {
    char: [(tag, pattern) for tag, pattern in found if not tag.endswith((":bool", ":timestamp", ":int"))]
    for char, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", yaml.resolver.re.compile("true|false"), list("tf"))
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:int", yaml.resolver.re.compile("[0-9]+$"), list("0123456789"))


def read(text: str) -> object:
    return yaml.load(text, _Yaml12)  # noqa: S506 - a safe loader with fewer types


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", [WHOLE, (ROOT / "pipeline.yaml").read_text()], ids=["whole", "own"])
def test_good_files_fit(text):
    assert [error.message for error in VALIDATOR.iter_errors(read(text))] == []


@pytest.mark.parametrize("name", FOUND)
def test_bad_files_do_not(name):
    assert not VALIDATOR.is_valid(read(CASES[name][0]))


STAGE_HEAD = {"name": "a", "kind": "noop", "owner": "dev"}


@pytest.mark.parametrize(
    ("stage", "good"),
    [
        ({"gate": {"teams": ["dev", "dev"]}}, False),
        ({"gate": {"teams": ["dev", "ops"]}}, True),
        ({"needs": ["b", "b"]}, False),
        ({"inputs": {"x": 1}}, False),
        ({"inputs": {"x": 1}, "use": "t"}, True),
    ],
)
def test_what_stands_twice_or_alone_is_wrong_for_editors_too(stage, good):
    assert VALIDATOR.is_valid({"name": "a", "stages": [{**STAGE_HEAD, **stage}]}) is good


def test_every_key_is_described():
    schema = json_schema()
    assert set(schema["properties"]) == set(FILE.keys)
    assert set(schema["$defs"]["stage"]["properties"]) == set(STAGE.keys)
    assert all(key["description"] for key in schema["properties"].values())
    assert all(key["description"] for key in schema["$defs"]["stage"]["properties"].values())


def test_a_kind_of_ones_own_is_in_its_schema():
    kinds = {"dance": Kind("Dances.")}
    file = {"name": "a", "stages": [{"name": "b", "kind": "dance", "owner": "dev"}]}
    assert not VALIDATOR.is_valid(file)
    assert Draft202012Validator(json_schema(kinds)).is_valid(file)
    assert parse(yaml.dump(file), kinds=kinds).definition is not None
    assert "dance" not in KINDS
