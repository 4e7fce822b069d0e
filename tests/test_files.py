"""Files in and out: what cannot be read is refused by name, and no message quotes a line of it."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tabsynth.errors import InputError, TableError
from tabsynth.files import file_digest, is_parquet, read_raw, write_frame
from tabsynth.sources import open_source

FRAME = pd.DataFrame({"näme, quoted": ['a,\n"b"', "北京", "x"], "n": [1, 2, 3]})
CSV = b"a,b\n" + b"".join(b"%d,Zebedee%d\n" % (i % 7, i * 7919) for i in range(50_000))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet", ".pq"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    write_frame(FRAME, tmp_path / f"t{ending}")
    back = read_raw(tmp_path / f"t{ending}").columns.to_pandas()
    pd.testing.assert_frame_equal(back.astype("str"), FRAME.astype("str"))


def test_csv_columns_are_text_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\r\n007,1e3,NA\r\n 1,, true\r\n")
    raw = read_raw(tmp_path / "t.csv")
    assert raw.columns.to_pydict() == {"a": ["007", " 1"], "b": ["1e3", ""], "c": ["NA", " true"]}
    assert raw.label == str(tmp_path / "t.csv")


@pytest.mark.parametrize("delimiter", [";", "\t", "|", " "])
def test_any_ascii_delimiter(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "t.csv").write_text(delimiter.join("ab") + "\n" + delimiter.join("12") + "\n")
    assert read_raw(tmp_path / "t.csv", delimiter=delimiter).columns.to_pydict() == {"a": ["1"], "b": ["2"]}


def test_tabs_stand_in_a_tsv_file_unless_another_delimiter_is_given(tmp_path: Path) -> None:
    write_frame(pd.DataFrame({"a": ["1,5"], "b": ["x"]}), tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text() == "a\tb\n1,5\tx\n"
    assert read_raw(tmp_path / "t.tsv").columns.to_pydict() == {"a": ["1,5"], "b": ["x"]}
    (tmp_path / "t.csv").write_text("a\tb\n1\t2\n")
    assert read_raw(tmp_path / "t.csv", delimiter=r"\t").columns.to_pydict() == {"a": ["1"], "b": ["2"]}
    (tmp_path / "t.tsv").write_text("a;b\n1;2\n")
    assert read_raw(tmp_path / "t.tsv", delimiter=";").columns.to_pydict() == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize("names", ["a,1.5", "0,1,2", "1,2,3,4", "x1,x2", "1a", "2024-01-01"])
def test_a_header_may_hold_some_numbers_or_count(tmp_path: Path, names: str) -> None:
    (tmp_path / "t.csv").write_text(f"{names}\n{names}\n")
    assert ",".join(read_raw(tmp_path / "t.csv").columns.column_names) == names


@pytest.mark.parametrize("delimiter", ["", ";;", "\n", '"', "é"])
def test_a_delimiter_that_is_none_is_refused(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    with pytest.raises(InputError, match="delimiter must be one ASCII character"):
        read_raw(tmp_path / "t.csv", delimiter=delimiter)


@pytest.mark.parametrize("source", [None, 5, {"a": [1]}, np.zeros((2, 2))], ids=["None", "int", "dict", "array"])
def test_a_source_of_another_type_is_refused(source: object) -> None:
    with pytest.raises(InputError, match="must be a path or a DataFrame; got"):
        read_raw(source)


BROKEN = {
    "empty": ("t.csv", b"", "the file is empty"),
    "blank lines": ("t.csv", b"\n\n", "the file holds no complete line"),
    "header without a line break": ("t.csv", b"a,b", "the file holds no complete line"),
    "too many fields": ("t.csv", b"a,b\n1,x\n2,Zebedee,z\n", "a line has more or fewer fields than the header"),
    "too few fields": ("t.csv", b"a,b\n1,x\nZebedee\n", "a line has more or fewer fields than the header"),
    "wrong fields late": ("t.csv", CSV + b"1,Zebedee,z\n", "a line has more or fewer fields than the header"),
    "latin-1": ("t.csv", "a,b\n1,Zebedee\n2,é\n".encode("latin-1"), "not UTF-8 text"),
    "latin-1 in the header": ("t.csv", "a,é\n1,Zebedee\n".encode("latin-1"), "not UTF-8 text"),
    "cut-off gzip": ("t.csv.gz", gzip.compress(CSV)[:-2000], "not a readable gzip file, or cut off"),
    "gzip without its end": ("t.csv.gz", gzip.compress(CSV)[:-4], "not a readable gzip file, or cut off"),
    "no gzip at all": ("t.csv.gz", CSV, "not a readable gzip file, or cut off"),
    "parquet garbage": ("t.parquet", b"PAR1 Zebedee PAR1", "not a readable Parquet file"),
    "CSV named Parquet": ("t.parquet", CSV, "not a readable Parquet file"),
    "empty Parquet": ("t.parquet", b"", "not a readable Parquet file"),
    "random bytes": ("t.csv", np.random.default_rng(0).bytes(20_000), ""),
    "zero bytes": ("t.csv", bytes(1000), ""),
    "same name twice": ("t.csv", b"a,b,a\n1,2,3\n", "columns 1 and 3 have the same name"),
    "no header, a value twice": ("t.csv", b"1,Zebedee,Zebedee\n", "columns 2 and 3 have the same name"),
    "no header, numbers": ("t.csv", b"4711,-1.5\n1,Zebedee\n", "every name in its first line is a number"),
    "no header, two counts": ("t.csv", b"0,1\n1,Zebedee\n", "every name in its first line is a number"),
    "semicolons": ("t.csv", b"a;b\n1;Zebedee\n", "has one column, whose name holds ';'. If that stands between the"),
    "tabs": ("t.csv", b"a\tb\n1\tZebedee\n", r"give --delimiter '\t' (in Python, delimiter=); else rename"),
    "bars": ("t.csv.gz", gzip.compress(b"a|b\n1|Zebedee\n"), "give --delimiter '|'"),
    "commas in a TSV file": ("t.tsv", b"a,b\n1,Zebedee\n", "give --delimiter ','"),
    "the row of wrong fields": (
        "t.csv",
        b"a,b\n1,2\n\n1,2,Zebedee\n",
        "header (row 3, the header being row 1); --delim",
    ),
    "a column without a name": ("t.csv", b"a, \n1,2\n", "column 2 has no name"),
}


@pytest.mark.parametrize(("name", "content", "rule"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_its_rule(tmp_path: Path, name: str, content: bytes, rule: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_raw(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert rule in str(caught.value)
    assert "Zebedee" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.csv: no such file"):
        read_raw(tmp_path / "none.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_raw(tmp_path)
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(TableError, match="is a folder"):
        read_raw(tmp_path / "t.parquet")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "t.csv").write_text("a\n1\n")
    monkeypatch.setattr("tabsynth.files.pa_csv.open_csv", refuse)  # root may read everything
    with pytest.raises(TableError, match=r"cannot be read \(permission denied\)"):
        read_raw(tmp_path / "t.csv")


def test_frames_with_names_that_repeat_or_are_missing() -> None:
    with pytest.raises(TableError, match="table: columns 1 and 2 have the same name"):
        read_raw(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(TableError, match="columns 1 and 2 have the same name"):
        read_raw(pd.DataFrame([[1, 2]], columns=[1, "1"]))
    with pytest.raises(TableError, match="column 1 has no name"):
        read_raw(pd.DataFrame([[1]], columns=[""]))


def test_names_of_rows_are_called_what_pandas_calls_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'"","a","b"\n"7","x",1.5\n"3","y",2\n')
    raw = read_raw(tmp_path / "t.csv")
    assert raw.columns.to_pydict() == {"Unnamed: 0": ["7", "3"], "a": ["x", "y"], "b": ["1.5", "2"]}
    assert raw.columns.column_names == list(pd.read_csv(tmp_path / "t.csv"))


def test_a_column_without_a_name_is_refused_where_it_holds_no_names_of_rows(tmp_path: Path) -> None:
    for content, rule in ((b'""\n1\n', "column 1 has no name"), (b"a,\n1,2\n", "column 2 has no name")):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(TableError, match=rule):
            read_raw(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b",1,2\n1,2,3\n")
    with pytest.raises(TableError, match="every name in its first line is a number"):
        read_raw(tmp_path / "t.csv")


def test_columns_of_several_levels_are_refused() -> None:
    with pytest.raises(TableError, match="names of several levels"):
        read_raw(pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])))


def test_the_index_that_pandas_writes_is_no_column(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [1, 2, 3]}, index=[7, 3, 1])
    rows.to_parquet(tmp_path / "t.parquet")
    raw = read_raw(tmp_path / "t.parquet")
    assert raw.columns.to_pydict() == {"a": [1, 2, 3]}
    assert raw.columns.to_pandas()["a"].tolist() == [1, 2, 3]
    (tmp_path / "many").mkdir()
    rows.to_parquet(tmp_path / "many" / "1.parquet")
    for given in (tmp_path / "many", pq.read_table(tmp_path / "t.parquet")):
        assert open_source(given).names == ("a",)
        assert [batch.to_pydict() for batch in open_source(given).batches()] == [{"a": [1, 2, 3]}]
    rows.rename_axis("row").to_parquet(tmp_path / "named.parquet")
    assert open_source(tmp_path / "named.parquet").names == ("a", "row")


def test_mixed_objects_become_text_and_gaps_stay_gaps() -> None:
    raw = read_raw(pd.DataFrame({"a": [1, "x", None, 2.5]}))
    assert raw.columns.to_pydict() == {"a": ["1", "x", None, "2.5"]}


def test_text_that_cannot_be_written_is_refused_unquoted() -> None:
    with pytest.raises(TableError, match="column 'a': a value is not text") as caught:
        read_raw(pd.DataFrame({"a": pd.Series(["Zebedee\ud800", "b"], dtype=object)}))
    assert "Zebedee" not in str(caught.value)


def test_endings_and_digest(tmp_path: Path) -> None:
    assert is_parquet("a/b.pq")
    assert not is_parquet("b.csv.gz")
    with pytest.raises(InputError, match=r"the ending must be one of \.csv"):
        write_frame(FRAME, tmp_path / "t.xlsx")
    (tmp_path / "t.bin").write_bytes(CSV)
    assert file_digest(tmp_path / "t.bin") == hashlib.sha256(CSV).digest()
