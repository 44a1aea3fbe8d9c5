"""The configuration: order of sources, refusals with a way out, no secret shown, an example equal to the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from fencepost.config import RELATIONS, Config, ConfigError, field_names, load_config, redacted_url

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No fencepost.toml of the checkout may leak into these tests."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(path: Path | None = None, environ: dict[str, str] | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ, **overrides)
    return str(caught.value)


def test_defaults_are_those_of_the_protocol() -> None:
    """Section 9 of the protocol, number by number."""
    config = load_config()
    assert (config.lease_seconds, config.renewal_seconds, config.idle_block_seconds) == (10, 3, 2)
    assert (config.reconcile_period_seconds, config.grace_seconds) == (5, 10)
    assert (config.recovery_interval_seconds, config.recovery_interval_max_seconds) == (60, 3600)
    assert (config.near_horizon_seconds, config.conflict_limit, config.lock_budget_ms) == (600, 5, 250)
    assert (config.suspect_crashes, config.poison_proofs, config.replay_budget_seconds) == (2, 2, 10)
    assert (config.payload_bytes_max, config.events_max, config.open_entities_max) == (2**20, 100_000, 10_000)


def test_the_defaults_obey_their_own_bounds() -> None:
    """Field bounds are checked by a round trip, since constructors do not check; relations one by one."""
    assert msgspec.convert(msgspec.to_builtins(Config()), Config) == Config()
    assert all(relation.holds(Config()) for relation in RELATIONS)


def test_the_example_names_every_setting_and_equals_the_defaults() -> None:
    """A new field without a line in config.example.toml, or another default there, fails here."""
    assert list(tomllib.loads(EXAMPLE.read_text())) == list(field_names())
    loaded = load_config(EXAMPLE)
    assert msgspec.structs.replace(loaded, servers_source="") == Config()


def test_the_example_gives_a_reason_for_every_setting() -> None:
    """Each setting's line is preceded by a comment."""
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), line


def test_environment_wins_over_file_and_the_call_over_both(tmp_path: Path) -> None:
    """Three layers for one field; a None override counts as not given."""
    file = tmp_path / "a.toml"
    file.write_text('concurrency = 1\nnamespace = "from_file"\nprocesses = 2\n')
    config = load_config(file, {"FENCEPOST_CONCURRENCY": "2", "FENCEPOST_PROCESSES": "3"}, processes=4, namespace=None)
    assert (config.namespace, config.concurrency, config.processes) == ("from_file", 2, 4)


def test_the_file_is_found_by_variable_and_by_name(in_empty_folder: Path) -> None:
    """./fencepost.toml is read unless FENCEPOST_CONFIG names another."""
    (in_empty_folder / "fencepost.toml").write_text("shards = 2\n")
    other = in_empty_folder / "other.toml"
    other.write_text("shards = 3\n")
    assert load_config().shards == 2
    assert load_config(None, {"FENCEPOST_CONFIG": str(other)}).shards == 3


def test_values_of_the_environment_take_the_shape_of_their_fields() -> None:
    """Lists by comma, numbers and truth values from text."""
    config = load_config(
        environ={
            "FENCEPOST_QUEUES": "a, b",
            "FENCEPOST_PREPARED_STATEMENTS": "false",
            "FENCEPOST_LEASE_SECONDS": "20",
            "FENCEPOST_BUILD": "",
        }
    )
    assert (config.queues, config.prepared_statements, config.lease_seconds) == (("a", "b"), False, 20.0)
    assert config.build == "dev"  # an empty variable is one that was not set


def test_an_unknown_setting_is_refused_with_a_near_one(tmp_path: Path) -> None:
    """In the form in which it was written."""
    file = tmp_path / "a.toml"
    file.write_text("lease_second = 3\n")
    assert refusal(file) == f"config file {file}: unknown setting 'lease_second'; did you mean lease_seconds?"
    assert "did you mean FENCEPOST_DATABASE_URL?" in refusal(environ={"FENCEPOST_DATBASE_URL": "x"})
    assert "config.example.toml lists all settings" in refusal(environ={"FENCEPOST_ZZZ": "x"})
    assert "unknown setting" in refusal(servers_source="mine")


def test_the_variables_of_a_kubernetes_service_called_fencepost_are_no_settings() -> None:
    """Kubernetes puts them into every pod beside that service."""
    assert (
        load_config(
            environ={
                "FENCEPOST_SERVICE_HOST": "10.0.0.1",
                "FENCEPOST_SERVICE_PORT": "80",
                "FENCEPOST_SERVICE_PORT_HTTP": "80",
                "FENCEPOST_PORT": "tcp://10.0.0.1:80",
                "FENCEPOST_PORT_80_TCP": "tcp://10.0.0.1:80",
                "FENCEPOST_PORT_80_TCP_ADDR": "10.0.0.1",
                "FENCEPOST_WEB_PORT_80_TCP_PROTO": "tcp",
            }
        )
        == load_config()
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lease_seconds", "abc", "Expected `float`"),
        ("lease_seconds", "0", "> 0"),
        ("lease_seconds", "-1", "> 0"),
        ("lease_seconds", "nan", "> 0"),
        ("lease_seconds", "inf", "<= 31536000"),
        ("concurrency", "0", ">= 1"),
        ("concurrency", "1.5", "Expected `int`"),
        ("event_warn_ratio", "1.1", "<= 1"),
        ("divergence", "ignore", "ignore"),
        ("namespace", "a-b", "lower-case letters"),
        ("queues", "a b", "queues[0]"),
        ("queues", ",", ">= 1"),
        ("prepared_statements", "maybe", "bool"),
    ],
)
def test_a_bad_value_names_source_field_value_bound_and_default(name: str, text: str, said: str) -> None:
    """One message has all that is needed to mend it."""
    message = refusal(environ={f"FENCEPOST_{name.upper()}": text})
    assert message.startswith(f"environment FENCEPOST_{name.upper()}: {name} = ")
    assert said in message
    assert "its default is" in message


def test_a_file_is_typed_strictly(tmp_path: Path) -> None:
    """A number in quotes is a mistake in TOML, unlike in the environment."""
    file = tmp_path / "a.toml"
    file.write_text('concurrency = "2"\n')
    assert "Expected `int`, got `str`" in refusal(file)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"renewal_seconds": 5.0}, "renewal_seconds = 5.0 (the call) does not go with lease_seconds = 10.0 (default)"),
        ({"recovery_interval_max_seconds": 59.0}, "recovery_interval_max_seconds"),
        ({"idle_block_seconds": 11.0}, "idle_block_seconds"),
        ({"near_horizon_seconds": 9.0}, "near_horizon_seconds"),
        ({"payload_bytes_max": 1024}, "batch_bytes_max"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, float], field: str) -> None:
    """Both fields, both values, both sources and the reason."""
    assert refusal(None, None, **values).startswith(field)


def test_every_relation_is_covered() -> None:
    """The list above is complete: one case per relation."""
    assert len(RELATIONS) == 5


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    """Missing, a folder, not TOML."""
    assert "No such file" in refusal(tmp_path / "none.toml")
    assert "cannot be read" in refusal(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_text("a = \n")
    assert "is not TOML" in refusal(bad)


def test_production_never_falls_back_to_dev_servers() -> None:
    """One named server does not excuse the other."""
    message = refusal(environ={"FENCEPOST_ENV": "production", "FENCEPOST_REDIS_URL": "redis://r"})
    assert "FENCEPOST_DATABASE_URL" in message
    assert "FENCEPOST_REDIS_URL" not in message


def test_the_source_of_the_servers_is_told(tmp_path: Path) -> None:
    """For the client to print, each server with its own source if they differ."""
    assert load_config().servers_source == "dev servers of ./.fencepost"
    file = tmp_path / "a.toml"
    file.write_text('database_url = "postgresql://h/d"\nredis_url = "redis://r"\n')
    assert load_config(file).servers_source == f"config file {file}"
    mixed = load_config(file, {"FENCEPOST_REDIS_URL": "redis://s"})
    assert mixed.servers_source == f"config file {file} (Postgres), environment FENCEPOST_REDIS_URL (Redis)"


def test_another_kind_of_url_is_refused_without_its_password() -> None:
    """The scheme says which server it is."""
    message = refusal(environ={"FENCEPOST_DATABASE_URL": "mysql://u:pw@h/d"})
    assert "postgresql://" in message
    assert "pw" not in message
    assert "postgresql://" in refusal(environ={"FENCEPOST_DATABASE_URL": "just-a-host"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("postgresql://u:s3cret@h:5/d?x=1", "postgresql://u:***@h:5/d?x=1"),
        ("postgresql://u@/d?host=%2Ftmp&password=s3cret", "postgresql://u@/d?host=%2Ftmp&password=***"),
        ("redis://:s3cret@h/0", "redis://:***@h/0"),
        ("unix:///a%20b/valkey.sock?db=0", "unix:///a%20b/valkey.sock?db=0"),
        ("redis://u:a@b:s3cret@h", "redis://u:***@h"),
        ("host=h password=s3cret", "***"),
        ("postgresql://u:s3cret@[h/d", "***"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    """In every place where libpq and redis-py accept one."""
    assert redacted_url(url) == shown


def test_the_configuration_can_be_printed() -> None:
    """repr, str, format and the table of `config show` hold no password."""
    config = Config(database_url="postgresql://u:s3cret@h/d", redis_url="redis://:s3cret@h")
    for text in (repr(config), str(config), f"{config}", str(config.shown()), str(config.__rich_repr__())):
        assert "s3cret" not in text
        assert "u:***@h" in text
