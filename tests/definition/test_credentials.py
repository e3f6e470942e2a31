"""What is written into a pipeline file and must not be shown."""

from __future__ import annotations

from pipelines.definition.credentials import concealed, is_credential
from pipelines.definition.kinds import REFERENCES


def test_what_is_named_like_a_credential_is_not_shown_wherever_it_stands_again():
    value = {
        "command": ["push", "--to=https://me:geheim77@shop.example/x", "--key=abcd1234"],
        "env": {"DEPLOY_TOKEN": "abcd1234", "COLOUR": "red", "NOTE": "geheim77 and red"},
    }
    assert concealed(value) == {
        "command": ["push", "--to=https://me:***@shop.example/x", "--key=***"],
        "env": {"DEPLOY_TOKEN": "***", "COLOUR": "red", "NOTE": "*** and red"},
    }


def test_references_of_secrets_are_no_secrets():
    value = {"command": ["deploy"], "secrets": {"DEPLOY_TOKEN": "deploy"}, "token": "deploy"}
    assert concealed(value, references=REFERENCES) == value


def test_names():
    assert all(map(is_credential, ("token", "DB_PASSWORD", "api-secret", "variable X_TOKEN")))
    assert not any(map(is_credential, ("tokens", "SECRET_KEY_FILE", "PASSWORDLESS", "key")))
    assert concealed({"token": "", "n": 3, "none": None}) == {"token": "", "n": 3, "none": None}
