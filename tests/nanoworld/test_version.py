"""What of nanoworld an artifact's text depends on."""

from kwen.nanoworld.version import nanoworld_version, sources_of


def test_a_module_depends_on_what_it_imports_and_on_nothing_else() -> None:
    documents = sources_of("documents")
    assert {"documents", "facts", "maths", "world", "names"} <= set(documents)
    assert not {"oracle", "preferences", "prompts", "questions"} & set(documents)
    assert {"oracle", "faults", "prompts"} <= set(sources_of("preferences"))


def test_the_version_is_that_of_the_sources() -> None:
    assert nanoworld_version("documents") == nanoworld_version("documents") != nanoworld_version("dialogues")
    assert len(nanoworld_version("prompts", "oracle")) == 64
