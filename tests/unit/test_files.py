import pytest

from rooflinesim.config.files import MAXIMUM_BYTES, parse_yaml, read_profile, read_text
from rooflinesim.errors import FileError, ProfileError


def refusal(text: str) -> str:
    with pytest.raises(FileError) as caught:
        parse_yaml(text, "file.yaml")
    message = str(caught.value)
    assert message.startswith("file.yaml: ")
    assert "\n" not in message
    return message


def test_plain_yaml_is_read():
    assert parse_yaml("a: 1\nb: [x, 2.5]\nc: {d: true}\n", "-") == {"a": 1, "b": ["x", 2.5], "c": {"d": True}}


def test_signs_of_anchors_inside_text_are_read():
    assert parse_yaml("a: 3 * 4 & more\n", "-") == {"a": "3 * 4 & more"}


@pytest.mark.parametrize("text", ["a: &x 1\n", "a: &x 1\nb: *x\n", "&x a: 1\n", "a: [&x 1]\n", "a: &x {b: 1}\n"])
def test_anchors_and_aliases_are_refused_with_their_line(text):
    message = refusal("first: 1\n" + text)
    assert "line 2" in message
    assert "anchors and aliases" in message


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/object/new:os.system ['true']",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!own 1",
        "!!unknown 1",
    ],
)
def test_tags_that_could_run_code_or_mean_nothing_are_refused(tag):
    assert "line 2" in refusal(f"first: 1\nsecond: {tag}\n")


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "x: {a: 1, a: 2}\n", "- {a: 1, a: 2}\n", 'a: 1\n"a": 2\n'])
def test_a_key_that_stands_twice_is_refused(text):
    assert "key 'a' stands twice" in refusal(text)


@pytest.mark.parametrize("text", ["? [a]\n: 1\n", "? {a: 1}\n: 1\n"])
def test_a_key_that_is_no_text_is_refused(text):
    assert "plain text" in refusal(text)


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a: }\n", "\ta: 1\n", "a: 'x\n", "a: 1\n b: 2\n", "a: \x01\n", "a: 2024-13-45\n"]
)
def test_broken_yaml_is_refused_in_one_line(text):
    assert "not readable as YAML" in refusal(text)


def test_several_documents_are_refused():
    refusal("a: 1\n---\nb: 2\n")


def test_a_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "h100.yaml").write_text("a: 1\n")
    with pytest.raises(FileError, match=r"h10\.yaml: no such file; did you mean .*h100\.yaml\?"):
        read_text(tmp_path / "h10.yaml")


def test_a_directory_a_large_file_and_bytes_are_refused(tmp_path):
    with pytest.raises(FileError, match="this is a directory; name a file in it"):
        read_text(tmp_path)
    large = tmp_path / "large.yaml"
    large.write_text("a" * (MAXIMUM_BYTES + 1))
    with pytest.raises(FileError, match="1,000,001 bytes is too large for such a file; at most 1,000,000 are read"):
        read_text(large)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\n")
    with pytest.raises(FileError, match="byte 3 is not UTF-8; save it as UTF-8 text"):
        read_text(binary)


def test_a_name_longer_than_the_disk_allows_is_refused(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_text(tmp_path / ("a" * 5000 + ".yaml"))


@pytest.mark.parametrize("text", ["", "5\n", "[1]\n", "text\n"])
def test_a_profile_that_is_no_mapping_is_refused(tmp_path, text):
    file = tmp_path / "gpu.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError, match=r"gpu\.yaml: holds no keys; a hardware profile is a mapping"):
        read_profile("hardware", file)
