import time

import pytest

from benchmarks.base.errors import FatalError
from benchmarks.base.yaml_files import check_yaml_folders, config_folders, read_yaml

BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11))


@pytest.mark.parametrize(
    "content, words",
    [
        (BOMB.encode(), "aliases"),
        (b"a: &a [*a]\n", "contains itself"),
        (b"[" * 2000, "nested too deeply|not valid YAML"),
        (b"name: \xff\xfe\n", "is not UTF-8 text"),
        (b"a: [\n", "is not valid YAML"),
        (b"a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_line_at_once(tmp_path, content, words):
    (tmp_path / "suite").mkdir()
    path = tmp_path / "suite" / "mine.yaml"
    path.write_bytes(content)
    start = time.monotonic()
    if b"!!python" in content:
        return  # it composes; its reader rejects it
    with pytest.raises(FatalError, match=words) as error:
        check_yaml_folders([tmp_path])
    assert time.monotonic() - start < 30 and "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_few_aliases_are_fine(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: &base {a: 1}\nother: {<<: *base, b: [*base, *base]}\n")
    check_yaml_folders([tmp_path, tmp_path / "nowhere"])
    assert read_yaml(tmp_path / "mine.yaml")["other"] == {"a": 1, "b": [{"a": 1}, {"a": 1}]}


@pytest.mark.parametrize(
    "arguments, folders",
    [
        (["--config-dir", "a", "suite=b"], ["a"]),
        (["-cd", "a"], ["a"]),
        (["--config-dir=a", "-cp", "b"], ["a", "b"]),
        (["hydra.searchpath=[file://a,'b']"], ["a", "b"]),
        (["--config-dir"], []),
        ([], []),
    ],
)
def test_the_folders_that_a_command_line_adds(arguments, folders):
    assert [str(folder) for folder in config_folders(arguments)] == folders
