import pytest

from benchmarks.base.errors import FatalError
from benchmarks.base.names import check_name, inside


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../x", "/x", "a\\b", "a\nb", "a\0b", " a", "x" * 151, "\ud800", "ä" * 80]
)
def test_invalid_folder_names_get_one_line(name):
    with pytest.raises(FatalError, match="is not a valid folder name: choose") as error:
        check_name("suite", name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["a", "classic-nano-seed0", "x" * 150, "a.b", "a b", "größe", "a=1,b=[2]"])
def test_valid_folder_names_are_kept(name):
    assert check_name("name", name) == name


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a//b", ".", "", "a/./b", "..", "a\\..\\b", "a\0", 3, None]
)
def test_a_name_outside_its_folder_is_rejected(tmp_path, name):
    with pytest.raises(FatalError, match="do not use this folder"):
        inside(tmp_path, name)


def test_links_are_rejected_below_a_folder_which_may_be_a_link_itself(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "real/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "folder", "a/b.txt") == tmp_path / "folder/a/b.txt"
    with pytest.raises(FatalError, match="is a symbolic link"):
        inside(tmp_path / "folder", "link/b.txt")
