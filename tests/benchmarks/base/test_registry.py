import pytest

from benchmarks.base.errors import FatalError
from benchmarks.base.registry import Registry, import_object


def test_an_entry_is_an_object_or_the_path_of_one_which_is_imported_when_it_is_loaded():
    registry = Registry("thing", {"path": "collections:Counter", "module": "json", "broken": "no_such_module_at_all"})
    registry.register("object", 7)
    assert list(registry) == ["path", "module", "broken", "object"] and len(registry) == 4
    assert registry.load("path").__name__ == "Counter"
    assert registry.load("module").__name__ == "json"
    assert registry.load("object") == 7


def test_a_name_that_is_taken_is_rejected_and_the_same_entry_may_be_registered_again():
    registry = Registry("thing", {"counter": "collections:Counter"})
    registry.register("counter", "collections:Counter")
    assert list(registry) == ["counter"]
    with pytest.raises(FatalError, match="'counter' is taken: register collections:OrderedDict under another name"):
        registry.register("counter", "collections:OrderedDict")
    assert registry.load("counter").__name__ == "Counter"


def test_a_reserved_name_is_rejected():
    with pytest.raises(FatalError, match="the thing name 'expert' is taken"):
        Registry("thing", {}, reserved=("expert",)).register("expert", 1)


def test_an_entry_without_the_required_attributes_is_rejected():
    registry = Registry("thing", {}, attributes=("resolve", "dumps"))
    with pytest.raises(FatalError, match="the thing 'a' .int. has no resolve and no dumps: see docs/extending.md"):
        registry.register("a", 5)
    registry.register("b", "json")
    with pytest.raises(FatalError, match="the thing 'b' .* has no resolve: "):
        registry.load("b")
    assert list(registry) == ["b"]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden"])
def test_an_invalid_name_is_rejected(name):
    with pytest.raises(FatalError, match="thing name"):
        Registry("thing", {}).register(name, 1)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(FatalError, match="unknown thing 'countr'. Did you mean 'counter'"):
        Registry("thing", {"counter": "collections:Counter"}).load("countr")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("no_such_module_at_all", "there is no module no_such_module_at_all: install its package"),
        ("collections:Countr", "unknown attribute of module collections for my entry 'Countr'. Did you mean 'Counter'"),
        ("my module", "'my module' is not a module"),
        ("broken_module:x", "module broken_module raised ValueError while it was imported (on purpose)"),
        ("needy_module", "module needy_module needs no_such_module_at_all, which is not installed"),
    ],
)
def test_a_wrong_import_path_gets_one_line(tmp_path, monkeypatch, path, line):
    (tmp_path / "broken_module.py").write_text("raise ValueError('on purpose')")
    (tmp_path / "needy_module.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FatalError) as refused:
        import_object(path, "my entry")
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_the_code_of_a_plugins_entry_is_part_of_fingerprints_and_the_projects_is_not(tmp_path, monkeypatch):
    package = tmp_path / "things_for_codes"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/part.py"):
        (package / name).write_text("class Part: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry("thing", {"own": "collections:Counter"})
    registry.register("path", "things_for_codes.inner.part:Part")
    registry.register("object", import_object("things_for_codes.inner.part:Part", "thing"))
    registry.register("module", import_object("things_for_codes.inner.part", "thing"))
    assert registry.code("own") == registry.code("unknown") == {}
    before = registry.code("path")
    assert before == registry.code("object") == registry.code("module") and before["code"]
    (package / "inner" / "__init__.py").write_text("class Part: pass  # changed\n")
    assert registry.code("path") != before
    registry.register("notebook", type("Part", (), {"__module__": "__main__"}))
    assert registry.code("notebook")["code"]
