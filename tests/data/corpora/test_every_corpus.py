"""Requirements on every corpus; its own tests are in the module of its name."""

from __future__ import annotations

import inspect
from importlib.util import find_spec

import pytest

from sonolex.configs import find_module, module_names

CORPORA = module_names("data.corpora")


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_has_tests_of_its_own(name):
    assert find_spec(f"tests.data.corpora.test_{name}"), f"write tests/data/corpora/test_{name}.py"


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_takes_its_root_first_and_options_by_keyword(name):
    """`sonolex prepare` and `Protocol.corpus_options` rely on it."""
    root, *options = inspect.signature(find_module("data.corpora", name).prepare).parameters.values()
    assert root.name == "root" and root.default is None
    assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_opens_with_its_description(name):
    module = find_module("data.corpora", name)
    assert module.__doc__ and len(module.__doc__) > 80 and module.prepare.__doc__
