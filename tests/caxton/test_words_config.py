"""Settings: one table, four origins, secrets that stay secret."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.config import SETTINGS, Config, Secret, load
from caxton.config.profiles import PROFILES, profiled
from caxton.config.rules import RULES, Rule
from caxton.errors import ConfigInvalid


def test_every_setting_has_its_field_and_a_default_that_it_takes() -> None:
    """The table and the struct are one."""
    assert {one.field for one in SETTINGS} == set(Config.__struct_fields__)
    config = Config()
    for one in SETTINGS:
        value = getattr(config, one.field)
        assert one.parse(value, one.key) == value
        assert one.help.endswith(".")
        assert one.allowed


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    """Each value says where it came from."""
    file = tmp_path / "caxton.toml"
    file.write_text('port = 1\nshards = 1\nhost = "localhost"\n[llm]\nmodel = "m"\n')
    loaded = load(file, env={"CAXTON_PORT": "2", "CAXTON_SHARDS": "2"}, flags={"port": 3})
    config = loaded.config
    assert (config.port, config.shards, config.host) == (3, 2, "localhost")
    assert config.llm_model == "m"
    assert loaded.origins["port"] == "flag"
    assert loaded.origins["shards"] == "CAXTON_SHARDS"
    assert loaded.origins["host"] == f"{file}:host"
    assert loaded.origins["llm.model"] == f"{file}:llm.model"
    assert loaded.origins["durability"] == "default"


def test_the_file_in_the_working_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``caxton.toml`` needs no flag; without it there are only defaults."""
    monkeypatch.chdir(tmp_path)
    assert load(env={}).config == Config()
    (tmp_path / "caxton.toml").write_text("port = 7\n")
    assert load(env={}).config.port == 7


def test_openai_variables_count_after_our_own() -> None:
    """What other tools read is read too."""
    env = {
        "OPENAI_BASE_URL": "http://a",
        "OPENAI_API_KEY": "sk-a",
        "CAXTON_LLM_BASE_URL": "http://b",
    }
    config = load(env=env).config
    assert config.llm_base_url == "http://b"
    assert isinstance(config.llm_api_key, Secret)
    assert config.llm_api_key.reveal() == "sk-a"
    assert config.provider_name == "openai"
    assert Config().provider_name == "rules"
    assert Config(llm_provider="mine").provider_name == "mine"


WRONG = [
    ("port", "x"),
    ("port", "65536"),
    ("shards", "33"),
    ("durability", "maybe"),
    ("watch", "perhaps"),
    ("limits.message_bytes", "1023"),
    ("limits.message_bytes", str(10 * 1024 * 1024 + 1)),
    ("conversation.timeout_ms", "299999"),
    ("log.level", "loud"),
    ("memory.timeout_ms", "99"),
    ("memory.timeout_ms", "600001"),
    ("memory.model_sha256", "0" * 63),
    ("memory.model_sha256", "g" * 64),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_names_setting_value_range_and_origin(key: str, value: str) -> None:
    """The node does not start on it."""
    variable = f"CAXTON_{key.replace('.', '_').upper()}"
    with pytest.raises(ConfigInvalid) as refused:
        load(env={variable: value})
    text = str(refused.value)
    assert key in text
    assert value in text
    assert variable in text


def test_unknown_settings_name_the_nearest(tmp_path: Path) -> None:
    """A typing mistake in the file is told."""
    file = tmp_path / "c.toml"
    file.write_text("[llm]\nmodle = 'x'\n")
    with pytest.raises(ConfigInvalid, match=r"did you mean `llm\.model`"):
        load(file, env={})


@pytest.mark.parametrize("text", ["port = ", "\xff", "port = [", "[a]\n[a]"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    """Its name and the reason are in the error."""
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigInvalid, match=r"c\.toml"):
        load(file, env={})


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    """A named file must be there, and be a configuration."""
    with pytest.raises(ConfigInvalid):
        load(tmp_path / "none.toml", env={})
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * 1_048_577)
    with pytest.raises(ConfigInvalid, match="1 MiB"):
        load(huge, env={})


NEAR = st.sampled_from(
    ["port = 80", "shards = 2", "[llm]", "model = 'a'", "watch = true", "durability = 'disk'",
     "port = -1", "x = 1", "[[llm]]", "port.a = 1", "llm = 3", "data = ''", "a = {b = {c = 1}}"]
)  # fmt: skip


@given(
    st.one_of(st.binary(max_size=200), st.lists(NEAR, max_size=6).map("\n".join).map(str.encode))
)
def test_garbage_files_give_a_configuration_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Nothing but ConfigInvalid ever comes of a file."""
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    file.write_bytes(data)
    try:
        result: object = load(file, env={}).config
    except ConfigInvalid as error:
        result = error
    assert isinstance(result, Config | ConfigInvalid)


def test_secrets_do_not_show() -> None:
    """Not in repr, str, format, or the text of an error; wrapping twice keeps the value."""
    config = Config(llm_api_key="sk-very-secret")
    key = config.llm_api_key
    assert isinstance(key, Secret)
    for shown in (repr(config), str(key), repr(key), f"{key}", f"{key:>30}"):
        assert "sk-very-secret" not in shown
    assert pickle.loads(pickle.dumps(config)).absolute().llm_api_key.reveal() == "sk-very-secret"
    with pytest.raises(ConfigInvalid) as refused:
        Config(llm_api_key="sk-very-secret" * 400)
    assert "sk-very" not in str(refused.value)
    with pytest.raises(ConfigInvalid) as refused:
        load(env={"CAXTON_LLM_API_KEY": "sk-very-secret" * 400})
    assert "sk-very" not in str(refused.value)


def test_paths_become_absolute() -> None:
    """A node does not depend on the folder it was started in."""
    config = Config(agents="a", data=Path("~/d")).absolute()  # type: ignore[arg-type]
    assert config.agents.is_absolute()
    assert config.data.is_absolute()
    assert Config().loopback
    assert not Config(host="0.0.0.0").loopback


def test_flags_are_read_as_words_or_booleans() -> None:
    """true, yes, on and 1 are the same."""
    for word, meant in (("yes", True), ("off", False), ("1", True), ("false", False)):
        assert load(env={"CAXTON_WATCH": word}).config.watch is meant


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_stands_for_the_defaults(name: str, tmp_path: Path) -> None:
    """What is given otherwise goes before it; each value says where it came from."""
    values = profiled(name)
    loaded = load(env={"CAXTON_PROFILE": name})
    assert loaded.config == Config.of_profile(name)
    assert loaded.origins["profile"] == "CAXTON_PROFILE"
    for key, value in values.items():
        assert getattr(loaded.config, key.replace(".", "_")) == value
        assert loaded.origins[key] == f"profile {name}"
    assert {key for key, origin in loaded.origins.items() if origin == "default"} == {
        one.key for one in SETTINGS
    } - {"profile", *values}
    file = tmp_path / "caxton.toml"
    file.write_text('profile = "development"\nshards = 1\n[log]\nlevel = "error"\n')
    loaded = load(file, env={}, flags={"profile": name})
    assert (loaded.config.shards, loaded.config.log_level) == (1, "error")
    assert loaded.origins["profile"] == "flag"


def test_an_unknown_profile_is_one_error() -> None:
    """It names what there is."""
    for make in (
        lambda: Config.of_profile("fast"),
        lambda: load(env={"CAXTON_PROFILE": "fast"}),
        lambda: Config(profile="fast"),
    ):
        with pytest.raises(ConfigInvalid, match="standard or development or production"):
            make()


BROKEN: dict[str, dict[str, object]] = {
    "limits.pending": {"limits.pending": 1_000, "limits.agent_queue": 2_000},
    "conversation.timeout_ms": {
        "conversation.timeout_ms": 300_000,
        "retry.delay_ms": 30_000,
        "retry.factor": 5.0,
        "breaker.timeout_ms": 300_000,
    },
    "message.timeout_ms": {"message.timeout_ms": 999},
    "memory.url": {"memory.backend": "qdrant", "memory.url": ""},
    "memory.words_weight": {"memory.vector_weight": 0, "memory.words_weight": 0},
    "breaker.timeout_ms": {"breaker.timeout_ms": 5_000, "retry.delay_ms": 5_000},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.key)
def test_settings_that_do_not_fit_each_other_are_refused(rule: Rule) -> None:
    """By name, with what the others leave of the range and where the value came from."""
    flags = BROKEN[rule.key]
    with pytest.raises(ConfigInvalid) as caught:
        load(env={}, flags=flags)
    fields = caught.value.fields
    assert (fields["field"], fields["origin"]) == (rule.key, "flag")
    assert rule.reason in str(caught.value)
    for name in PROFILES:
        assert rule.holds(Config.of_profile(name))
