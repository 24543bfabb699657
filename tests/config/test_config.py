import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd import InputError
from drkd.config import EMBEDDED, CompareConfig, TrainConfig, as_bytes, as_yaml, differences, resolve


def write(path, text):
    path.write_text(text)
    return path


def test_command_line_over_file_over_default(tmp_path):
    file = write(tmp_path / "c.yaml", "epochs: 7\nlr: 0.2\n")
    config, source = resolve(TrainConfig, {"lr": 0.3, "seed": None}, file)
    assert (config.epochs, config.lr, config.seed) == (7, 0.3, 0)
    assert (source["epochs"], source["lr"], source["seed"]) == ("file", "command line", "default")


def test_digits_have_defaults_of_their_own():
    assert resolve(CompareConfig, {})[0].label_noise == EMBEDDED["label_noise"]
    assert resolve(TrainConfig, {})[0].limit_train == EMBEDDED["limit_train"]
    assert resolve(TrainConfig, {})[1]["epochs"] == "default for digits"
    assert resolve(TrainConfig, {"data": "cifar10"})[0].limit_train is None
    assert resolve(CompareConfig, {"data": "cifar10"})[0].label_noise == [0.0]


def test_none_replaces_a_default_that_goes_by_the_data(tmp_path):
    file = write(tmp_path / "c.yaml", "limit_train: null\nclip_norm: ~\n")
    config, source = resolve(TrainConfig, {}, file)
    assert (config.limit_train, source["limit_train"], config.epochs) == (None, "file", EMBEDDED["epochs"])
    assert resolve(TrainConfig, {"task": "detection"}, file)[0].clip_norm is None
    assert resolve(CompareConfig, {"limit_train": None})[0].limit_train is None
    assert resolve(TrainConfig, {"limit_train": 9}, file)[0].limit_train == 9


def test_lists_are_split_at_commas():
    config, _ = resolve(CompareConfig, {"methods": "dr_kd, ps_kd", "label_noise": "0,0.4"})
    assert config.methods == ["dr_kd", "ps_kd"]
    assert config.label_noise == [0.0, 0.4]


@settings(deadline=None, max_examples=30)
@given(lr=st.floats(1e-8, 10), alpha=st.none() | st.floats(0, 1), noise=st.lists(st.floats(0, 0.9), min_size=1))
def test_a_written_configuration_reads_back_the_same(tmp_path_factory, lr, alpha, noise):
    config, source = resolve(CompareConfig, {"lr": lr, "alpha": alpha, "label_noise": noise})
    file = write(tmp_path_factory.mktemp("c") / "c.yaml", as_yaml(config, source))
    assert resolve(CompareConfig, {}, file)[0] == config
    assert differences(yaml.safe_load(file.read_text()), config) == []


def test_what_is_named_twice_counts_once():
    config, _ = resolve(CompareConfig, {"methods": "ps_kd,ps_kd", "label_noise": "0,0.0,0.125,0.12"})
    assert (config.methods, config.label_noise) == (["ps_kd"], [0.0, 0.125, 0.12])


def test_differences_are_those_that_change_the_result():
    old = TrainConfig(epochs=3, out="a", resume=False)
    new = TrainConfig(epochs=4, out="b", resume=True, lr=0.5)
    assert differences(old.model_dump(), new) == ["epochs", "lr"]
    without = {name: value for name, value in old.model_dump().items() if name not in ("mixup", "cutmix")}
    assert differences(without, old.model_copy(update={"cutmix": 1.0})) == ["cutmix"]  # the run knew no such option


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean epochs?"),
        ({"epochs": 0}, "--epochs should be greater than or equal to 1, got 0"),
        ({"alpha": 1.5}, "--alpha should be less than or equal to 1, got 1.5"),
        ({"temperature": 0.0}, "--temperature should be greater than 0"),
        ({"optimizer": "adam"}, "--optimizer should be 'sgd' or 'adamw', got 'adam'"),
        ({"label_noise": 1.0}, "--label-noise should be less than 1"),
        ({"cutmix": True}, "--cutmix should be a number or a name, not yes or no, got True"),
        ({"keep": True}, "--keep should be a number or a name, not yes or no, got True"),
        ({"select": False}, "--select should be a number or a name, not yes or no, got False"),
    ],
)
def test_bad_options_are_named(given_, message):
    with pytest.raises(InputError) as error:
        resolve(TrainConfig, given_)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("epochz: 3", "did you mean epochs"), ("- a\n- b", "option: value"), ("a: [", "is not YAML")],
)
def test_bad_files_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        resolve(TrainConfig, {}, write(tmp_path / "c.yaml", text))


def test_dashes_in_a_file_are_the_command_lines(tmp_path):
    assert resolve(TrainConfig, {}, write(tmp_path / "c.yaml", "batch-size: 9"))[0].batch_size == 9


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read the configuration"):
        resolve(TrainConfig, {}, tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("size", "number"), [("0", 0), ("1e", None), ("2GB", 2 * 10**9), ("1.5 kb", 1500), ("-1", None), (300, 300)]
)
def test_sizes_are_numbers_with_a_unit(size, number):
    if number is None:
        with pytest.raises(InputError, match="--cache-size should be a size such as 500MB or 2GB, or 0"):
            resolve(TrainConfig, {"cache_size": size})
    else:
        assert as_bytes(resolve(TrainConfig, {"cache_size": size})[0].cache_size) == number


def test_whether_there_is_a_cache_changes_the_result_but_not_its_size_or_folder():
    def changed(**options):
        return differences(
            resolve(TrainConfig, {"cache_size": "1GB"})[0].model_dump(), resolve(TrainConfig, options)[0]
        )

    assert changed(cache_size="5MB", cache="elsewhere") == []
    assert changed() == ["cache_size"]
