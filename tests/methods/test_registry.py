import inspect
import pickle
from types import SimpleNamespace

import pytest
import torch

import drkd
from drkd import InputError
from drkd.methods import registry
from drkd.methods.registry import Range, all_methods, create, get_method, method, parse_variant


@pytest.mark.parametrize("name", all_methods())
def test_an_objective_can_be_pickled_in_the_middle_of_a_training(name):
    """As a new process needs it; a teacher that is a module goes with it."""
    objective = create(name, {}, teacher=torch.nn.Linear(4, 4), epochs=5)
    logits, labels, inputs = torch.randn(4, 4), torch.tensor([0, 1, -100, -100]), torch.randn(4, 4)
    batch = {"inputs": inputs, "index": torch.arange(4)}
    objective.prepare(SimpleNamespace(split=range(4), batches=lambda: [SimpleNamespace(inputs=inputs)]))
    for epoch in range(2):
        objective(logits, labels, **batch)
        objective.update(progress=0.2 * (epoch + 1), epoch=epoch + 1)
    other = pickle.loads(pickle.dumps(objective))
    expected, found = objective(logits, labels, **batch), other(logits, labels, **batch)
    assert all(torch.equal(found[part], value) for part, value in expected.items())


@pytest.fixture
def own(monkeypatch):
    """A method of one's own, forgotten after the test."""
    monkeypatch.setattr(registry, "_FOUND", dict(registry._FOUND))

    @method(label="Mine", search_space={"margin": Range(0.1, 0.5), "alpha": Range(0.2, 0.4, step=0.1)})
    def mine(teacher, alpha=0.5, *, margin=0.3, epochs=None, **options):
        return drkd.Objective(
            f"mine {alpha} {margin} {epochs}", [drkd.Term(drkd.Frozen(teacher), name="soft")], **options
        )

    return mine


def test_methods_come_in_the_order_of_the_papers_then_the_others(own):
    names = list(all_methods())
    assert names[:3] == ["cross_entropy", "label_smoothing", "kd"]
    assert names.index("dr_kd_clean_view") < names.index("mine")


def test_what_is_known_of_a_method_comes_from_its_function(own):
    info = get_method("mine")
    assert (info.make, info.label, info.colour, info.teacher, info.page) == (
        *(own, "Mine", None, "given"),
        "docs/methods/mine.md",
    )
    assert info.settings == ("alpha", "margin")
    assert info.search_space == {"alpha": Range(0.2, 0.4, step=0.1), "margin": Range(0.1, 0.5)}
    assert not info.costs_double


def test_create_fills_in_what_the_function_takes(own):
    assert create("mine", {"margin": 0.4}, teacher=lambda inputs: inputs, epochs=7).name == "mine 0.5 0.4 7"
    with pytest.raises(InputError, match="mine takes no epochs; it takes alpha, margin"):
        create("mine", {"epochs": 3}, teacher=lambda inputs: inputs)
    with pytest.raises(InputError, match="mine needs a teacher"):
        create("mine", {})


def test_two_modules_cannot_share_a_name(own):
    with pytest.raises(InputError, match=r"both have a method dr_kd; rename one"):

        @method()
        def dr_kd():
            return drkd.cross_entropy()


def test_teachers_and_doubled_batches_cost_double():
    doubled = {name for name, info in all_methods().items() if info.costs_double}
    assert doubled == {"tf_kd_self", "dr_kd", "cs_kd", "dlb", "tf_kd_self_clean_view", "dr_kd_clean_view"}
    for info in all_methods().values():
        assert (info.teacher != "none") == ("teacher" in inspect.signature(info.make).parameters)
        assert set(info.search_space) <= set(info.settings)


@pytest.mark.parametrize("name", ["dr_kd:alpha", "dr_kd:=1", "dr_kd:alpha=0.5:"])
def test_a_variant_that_cannot_be_read_is_refused(name):
    with pytest.raises(InputError, match="expected SETTING=VALUE"):
        parse_variant(name)
