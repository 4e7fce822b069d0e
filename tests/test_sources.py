"""Sources: one table in every dress it may come in gives the same rows, and what goes wrong is told without a value."""

from __future__ import annotations

import datetime
import sqlite3
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabsynth.errors import InputError, TableError
from tabsynth.sources import databases as module
from tabsynth.sources import frames, home, identity, open_source

BATCH = 1000
ROWS = BATCH + 500  # more than one batch
AGES = [i % 90 for i in range(ROWS)]
CITIES = [None if i % 7 == 0 else f"Zebedee{i % 5}" for i in range(ROWS)]
FRAME = pd.DataFrame({"age": AGES, "city": CITIES})
SECRET = ("s3cret", "Zebedee", "17.25")  # what no message may say


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (module, frames):
        monkeypatch.setattr(one, "BATCH_ROWS", BATCH)


def rows_of(given: Any) -> list[tuple[Any, ...]]:
    """Return all rows of a source, read twice to see that it can be."""
    source = open_source(given)
    tables = [pa.Table.from_batches(source.batches()) for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert tuple(tables[0].column_names) == source.names
    return list(zip(*(column.to_pylist() for column in tables[0].columns), strict=True))


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path_factory.mktemp("duck") / "x.db"
    with duckdb.connect(str(path)) as connection:
        frame = FRAME
        connection.execute("CREATE TABLE people AS SELECT * FROM frame")
        connection.execute("CREATE SCHEMA inner_; CREATE TABLE inner_.few AS SELECT * FROM frame LIMIT 3")
        connection.execute('CREATE TABLE "a.b ""c" AS SELECT 1 AS one')
    assert len(frame) == ROWS
    return path


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sqlalchemy")
    path = tmp_path_factory.mktemp("lite") / "x.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE people (age INTEGER, city TEXT)")
        connection.executemany("INSERT INTO people VALUES (?, ?)", zip(AGES, CITIES, strict=True))
        connection.execute('CREATE TABLE "a.b ""c" AS SELECT 1 AS one')
        connection.execute("CREATE TABLE loose (n, gap, word, late)")
        whole = [(i, None, i if i % 2 else "x", None) for i in range(BATCH)]
        connection.executemany("INSERT INTO loose VALUES (?, ?, ?, ?)", [*whole, (17.25, None, "y", 5)])
    connection.close()
    return path


def test_every_frame_has_the_same_rows() -> None:
    expected = list(zip(AGES, CITIES, strict=True))
    table = pa.table({"age": AGES, "city": CITIES})
    assert rows_of(table) == expected
    assert rows_of(table.to_reader()) == expected
    assert rows_of(table.combine_chunks().to_batches()[0]) == expected
    assert rows_of(open_source(table)) == expected  # a source is one already


def test_polars_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"age": AGES, "city": CITIES})
    expected = list(zip(AGES, CITIES, strict=True))
    assert rows_of(frame) == expected
    assert rows_of(frame.lazy()) == expected
    assert rows_of(frame.with_columns(polars.col("city").cast(polars.Categorical))) == expected
    source = open_source(frame.with_columns(polars.col("city").cast(polars.Categorical)))
    assert {batch.schema.field("city").type for batch in source.batches()} == {pa.dictionary(pa.int32(), pa.string())}
    assert {batch.schema.field("city").type for batch in open_source(frame).batches()} == {pa.string()}


def test_intervals_are_durations(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "stays.db"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE stays AS SELECT INTERVAL (n) DAY + INTERVAL (90 * n) SECOND AS stay FROM range(3) t(n)"
        )
        connection.execute("INSERT INTO stays VALUES (NULL)")
        connection.execute("CREATE TABLE ages AS SELECT INTERVAL 14 MONTH AS age")
    address = f"duckdb:///{path}?table="
    assert [stay for (stay,) in rows_of(address + "stays")] == [
        *(datetime.timedelta(days=n, seconds=90 * n) for n in range(3)),
        None,
    ]
    with pytest.raises(TableError, match=r"table 'ages': column 'age': an interval counts months"):
        list(open_source(address + "ages").batches())


@pytest.mark.parametrize("given", [5, None, {"a": [1]}, [1, 2]])
def test_what_is_no_table_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="must be a path or a frame of pandas, polars or pyarrow; got"):
        open_source(given)


@pytest.mark.parametrize(
    ("names", "said"), [(["a", "a"], "columns 1 and 2 have the same"), (["a", " "], "column 2 has no")]
)
def test_arrow_columns_without_good_names_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(TableError, match=said):
        open_source(pa.table([pa.array([1]), pa.array([2])], names=names))


def test_a_reader_that_fails_says_so_without_a_value() -> None:
    def batches() -> Any:
        yield pa.record_batch({"a": [1]})
        raise RuntimeError("Zebedee")

    def reader() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())

    with pytest.raises(TableError, match="the reader of batches failed on the way") as caught:
        open_source(reader())
    assert "Zebedee" not in str(caught.value)


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    table = pa.table({"age": AGES, "city": CITIES})
    for place, start in enumerate((0, 10, 1000)):
        end = (10, 1000, ROWS)[place]
        pq.write_table(table.slice(start, end - start), tmp_path / f"part-{place}.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".part.crc").write_text("")
    assert rows_of(tmp_path) == list(zip(AGES, CITIES, strict=True))
    assert home(tmp_path) == tmp_path
    before = identity(tmp_path)
    pq.write_table(table.slice(0, 9), tmp_path / "part-0.parquet")
    assert identity(tmp_path) != before
    pq.write_table(pa.table({"age": ["x"], "city": ["y"]}), tmp_path / "part-3.parquet")
    with pytest.raises(TableError, match="columns of different types"):
        list(open_source(tmp_path).batches())
    pq.write_table(pa.table({"age": [1]}), tmp_path / "part-3.parquet")
    with pytest.raises(TableError, match="different columns"):
        open_source(tmp_path)


def test_a_folder_without_parquet_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="a folder without Parquet files"):
        open_source(tmp_path)


def test_a_duckdb_table_and_query(duck: Path) -> None:
    expected = sorted(zip(AGES, CITIES, strict=True), key=repr)
    assert sorted(rows_of(f"duckdb:///{duck}?table=people"), key=repr) == expected
    assert len(rows_of(f"duckdb:///{duck}?table=inner_.few")) == 3
    assert rows_of(f"duckdb:///{duck}?table=a.b%20%22c") == [(1,)]
    over = rows_of(f"duckdb:///{duck}?query=SELECT age, city FROM people WHERE age > 80 & 127 -- old;")
    assert sorted(over, key=repr) == [row for row in expected if row[0] > 80]


def test_a_sqlite_table_and_query(lite: Path) -> None:
    expected = sorted(zip(AGES, CITIES, strict=True), key=repr)
    assert sorted(rows_of(f"sqlite:///{lite}?table=people"), key=repr) == expected
    assert rows_of(f"sqlite:///{lite}?table=main.people")[:5] == list(zip(AGES, CITIES, strict=True))[:5]
    assert rows_of(f"sqlite:///{lite}?table=a.b%20%22c") == [(1,)]
    over = rows_of(f"sqlite:///{lite}?query=SELECT age FROM people WHERE city LIKE '%4' AND age > 80")
    assert sorted(over) == sorted(
        (age,) for age, city in zip(AGES, CITIES, strict=True) if city == "Zebedee4" and age > 80
    )


def test_types_that_sqlite_does_not_promise_are_found_in_all_rows(lite: Path) -> None:
    source = open_source(f"sqlite:///{lite}?table=loose")
    table = pa.Table.from_batches(source.batches())
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == {
        "n": pa.float64(),  # a fraction in the last row
        "gap": pa.string(),  # nothing at all
        "word": pa.string(),  # numbers and words
        "late": pa.int64(),  # nothing before the last row
    }
    assert table["word"].to_pylist()[:2] == ["x", "1"]
    assert table["n"].to_pylist()[-1] == 17.25


def test_python_values_of_a_driver_as_columns() -> None:
    day, moment = datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC)
    assert module._arrow_type({bool, type(None)}) == pa.bool_()
    assert module._arrow_type({int, Decimal}) == pa.float64()
    assert module._arrow_type({type(day)}) == pa.date32()
    assert module._arrow_type({bool, int}) == module._arrow_type({bytes}) == module._arrow_type(set()) == pa.string()
    assert pa.array([moment], module._arrow_type({type(moment)})).to_pylist() == [datetime.datetime(2020, 1, 2, 3)]


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_the_identity_of_rows_does_not_depend_on_their_order(kind: str, duck: Path, lite: Path) -> None:
    path = {"duckdb": duck, "sqlite": lite}[kind]
    plain = identity(f"{kind}:///{path}?table=people")
    assert plain == identity(f"{kind}:///{path}?query=SELECT * FROM people ORDER BY city DESC, age")
    for other in ("SELECT * FROM people WHERE age > 0", "SELECT age + (age = 3)::int AS age, city FROM people"):
        query = other if kind == "duckdb" else other.replace("::int", "")
        assert plain != identity(f"{kind}:///{path}?query={query}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": ["1:x", "y"]}, {"a": ["1:y", "x"]}),
        ({"a": ["x"], "b": ["yz"]}, {"a": ["xy"], "b": ["z"]}),
        ({"a": [None, "-"]}, {"a": ["-", "-"]}),
        ({"a": [1]}, {"a": [2]}),
        ({"a": [1, 1]}, {"a": [1]}),
        ({"a": [1]}, {"b": [1]}),
        ({"a": [0.1]}, {"a": [0.1 + 1e-17 + 1e-16]}),
        ({"a": [1, 2], "b": [3, 4]}, {"a": [2, 1], "b": [3, 4]}),
    ],
)
def test_tables_that_differ_have_different_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert open_source(pa.table(one)).digest() != open_source(pa.table(other)).digest()


def test_a_digest_sees_values_and_not_how_they_are_stored() -> None:
    texts = pa.array(["x", None, "y", "x"])
    plain = open_source(pa.table({"a": texts, "n": pa.array([1, 2, 3, None], pa.int64())}))
    stored = pa.table({"a": texts.dictionary_encode(), "n": pa.array([1, 2, 3, None], pa.int8())})
    assert open_source(stored).digest() == plain.digest()
    shifted = pa.concat_tables([stored.slice(0, 1), stored]).slice(1)
    assert open_source(shifted).digest() == plain.digest()


def test_where_companions_lie(duck: Path, lite: Path) -> None:
    assert home("some/t.csv") == Path("some/t.csv")
    assert home(f"sqlite:///{lite}?table=people") == lite.with_name("x.db.people")
    assert home(f"duckdb:///{duck}?table=a/b") == duck.with_name("x.db.a%2Fb")
    assert home(f"duckdb:///{duck}?query=SELECT 1") is None
    assert home("postgresql://u:p@h/shop?table=people") is None
    assert home(FRAME) is None
    assert identity("some/t.csv") == Path("some/t.csv")
    with pytest.raises(InputError, match="no place where a ledger"):
        identity(FRAME)


FAULTS = {
    "no table named": ("{lite}", "name one table"),
    "table and query": ("{lite}?table=people&query=SELECT 1", "name one table"),
    "an empty table": ("{lite}?table=", "name one table"),
    "a query that writes": ("{lite}?query=DELETE FROM people WHERE city = 'Zebedee'", "a query that reads begins with"),
    "writing behind WITH": ("{lite}?query=WITH a AS (SELECT 1) DELETE FROM people", r"no SQL that this database reads"),
    "writing behind WITH, DuckDB": (
        "{duck}?query=WITH a AS (SELECT 1) DELETE FROM people",
        "no SQL that this database",
    ),
    "two statements": ("{duck}?query=SELECT 1; DROP TABLE people", "no SQL that this database reads"),
    "unknown table": ("{lite}?table=nobody", "table 'nobody': there is no such table"),
    "unknown table, DuckDB": ("{duck}?table=nobody", "table 'nobody': there is no such table"),
    "unknown column": ("{duck}?query=SELECT Zebedee FROM people", "names a table or column that it does not have"),
    "no file": ("sqlite:///none.db?table=t", "sqlite none.db, table 't': no such file"),
    "no file, DuckDB": ("duckdb:///none.db?table=t", "duckdb none.db, table 't': no such file"),
    "in memory": ("duckdb:///:memory:?table=t", "a database in a file is needed"),
    "nothing": ("sqlite://?table=t", "a database in a file is needed, as in sqlite:///PATH"),
    "not a database": ("sqlite:///{junk}?table=t", "not a readable database, or locked"),
    "not a database, DuckDB": ("duckdb:///{junk}?table=t", "not a readable database, or locked"),
    "no such kind": ("nosql://u:s3cret@h/d?table=t", "no such kind of database"),
    "no driver": ("postgresql+asyncfoo://u:s3cret@h/d?table=t", "no such kind of database"),
    "a web page": ("https://u:s3cret@h/t.csv", "name one table"),
    "a broken port": ("mysql://u:s3cret@h:x/d?table=t&pwd=s3cret", "not a database URL that SQLAlchemy reads"),
    "a value that fails": ("{duck}?query=SELECT city::int FROM people", "broke off on the way"),
}


@pytest.mark.parametrize(("given", "said"), FAULTS.values(), ids=FAULTS)
def test_what_goes_wrong_is_told_without_passwords_and_values(
    given: str, said: str, duck: Path, lite: Path, tmp_path: Path
) -> None:
    (tmp_path / "junk").write_text("Zebedee s3cret " * 100)
    before = lite.read_bytes(), duck.read_bytes()
    address = given.format(lite=f"sqlite:///{lite}", duck=f"duckdb:///{duck}", junk=tmp_path / "junk")
    with pytest.raises(InputError, match=said) as caught:
        list(open_source(address).batches())
    assert not [word for word in SECRET if word in str(caught.value)]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert (lite.read_bytes(), duck.read_bytes()) == before


@pytest.mark.parametrize(
    ("package", "extra", "kind"), [("duckdb", "duckdb", "duckdb"), ("sqlalchemy", "sql", "sqlite")]
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, extra: str, kind: str, lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'needs the package {package}: pip install "tabsynth\[{extra}\]"'):
        open_source(f"{kind}:///{lite}?table=people")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sqlalchemy")
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(
        InputError, match=r"postgresql\+psycopg2 h/d, table 't': its driver is missing; pip install psycopg2"
    ):
        open_source("postgresql+psycopg2://u:s3cret@h/d?table=t")


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("Zebedee s3cret"), ConnectionResetError("Zebedee"), RuntimeError("17.25")]
)
@pytest.mark.parametrize("passed", [0, 1, 3])
def test_a_database_that_breaks_off_is_told(
    error: Exception, passed: int, lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cursor(sqlite3.Cursor):
        def fetchmany(self, size: int = 1) -> Any:
            nonlocal fetched
            fetched += 1
            if fetched > passed:
                raise error
            return super().fetchmany(size)

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

    fetched, connect = 0, sqlite3.connect
    monkeypatch.setattr(module.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Connection, **k))
    source = open_source(f"sqlite:///{lite}?table=people")
    with pytest.raises(TableError, match="table 'people': the database broke off on the way") as caught:
        list(source.batches())
    assert not [word for word in SECRET if word in str(caught.value)]


def test_a_column_that_changes_its_type_between_two_readings_is_told(lite: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    path.write_bytes(lite.read_bytes())
    source = open_source(f"sqlite:///{path}?table=people")
    assert len(list(source.batches())) == 2
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE people SET age = 'Zebedee' WHERE rowid = 5")
    connection.close()
    with pytest.raises(TableError, match="column 'age' changed its type while it was read") as caught:
        list(source.batches())
    assert "Zebedee" not in str(caught.value)


def test_a_reading_that_is_left_lets_go_of_the_database(duck: Path, lite: Path) -> None:
    for address in (f"duckdb:///{duck}?table=people", f"sqlite:///{lite}?table=people"):
        batches = open_source(address).batches()
        next(batches)
        batches.close()
        assert len(list(open_source(address).batches())) == 2
