"""The text files of a data set: what is read, and how a damaged one is named."""

import pytest

from captioning.data.files import BrokenSource, read_csv, read_json, read_json_lines


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_no_json_are_refused_with_their_place(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text(f'{{"score": {number}}}')
    with pytest.raises(BrokenSource, match=rf"a\.json: {number} is no JSON; write null"):
        read_json(path, dict)
    path.write_text(f'{{"score": 1}}\n{{"score": {number}}}\n')
    with pytest.raises(BrokenSource, match=rf"a\.json, line 2: {number} is no JSON"):
        list(read_json_lines(path))


def test_a_file_in_another_encoding_is_named_with_the_cure(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}", encoding="utf-16")
    with pytest.raises(BrokenSource, match=r"a\.json: byte 0 is not UTF-8; save it as UTF-8"):
        read_json(path, dict)


def test_csv_rows_that_are_too_long_have_commas_in_their_last_cell(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufefffile,caption\r\n1.jpg,A man , in a red hat .\r\n2.jpg,"one, ""two"""\r\n\r\n3.jpg\r\n')
    assert list(read_csv(path)) == [
        {"file": "1.jpg", "caption": "A man , in a red hat ."},
        {"file": "2.jpg", "caption": 'one, "two"'},
        {"file": "3.jpg", "caption": ""},
    ]
    with pytest.raises(BrokenSource, match=r"a\.csv, line 2: 3 cells .*, expected 2 \(file, caption\)"):
        list(read_csv(path, texts=("text",)))
    path.write_text("")
    assert list(read_csv(path)) == []
