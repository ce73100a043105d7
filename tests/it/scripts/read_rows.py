"""Reads every row and column of a table of a bucket without Icecore, and prints them as JSON.

    read_rows.py duckdb|pyarrow|chdb|pyspark FILES_LIST TABLE

FILES_LIST names the Parquet files that count, one a line, under Hive-style paths. What each row says
is put together as docs/decisions/0001-row-shape.md has it: a timestamp is microseconds and the
nanoseconds beside them, an attribute is a column of its own or in the overflow text, an integer is
a double, a mark, and itself where no double is it (0043).
"""

import datetime
import decimal
import json
import sys

reader, list_path, table = sys.argv[1:4]
files = [line for line in open(list_path).read().splitlines() if f"/data/{table}/" in line]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def duckdb_rows():
    import duckdb

    names = ", ".join(f"'{path}'" for path in files)
    relation = duckdb.sql(f"SELECT * FROM read_parquet([{names}], hive_partitioning = true, union_by_name = true)")
    return relation.to_arrow_table().to_pylist()


def pyarrow_rows():
    import pyarrow
    import pyarrow.dataset

    dataset = pyarrow.dataset.dataset(files, format="parquet", partitioning=hive(pyarrow), partition_base_dir=root())
    # A data set takes the columns of its first file unless it is told.
    schemas = [fragment.physical_schema for fragment in dataset.get_fragments()]
    schema = pyarrow.unify_schemas([*schemas, dataset.partitioning.schema])
    return dataset.replace_schema(schema).to_table().to_pylist()


def hive(pyarrow):
    kinds = [("date", pyarrow.string()), ("hour", pyarrow.string())]
    return pyarrow.dataset.partitioning(pyarrow.schema(kinds), flavor="hive")


def chdb_rows():
    import chdb

    # Its braces hold no slashes; a file's name is its own wherever it is.
    names = ",".join(sorted(path.rsplit("/", 1)[1] for path in files))
    glob = root() + "/date=*/hour=*/{" + names + "}"
    query = f"SELECT * FROM file('{glob}', Parquet) SETTINGS schema_inference_mode = 'union', use_hive_partitioning = 1"
    return chdb.query(query, "ArrowTable").to_pylist()


def pyspark_rows():
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    # What stands in several files is put together by name where Spark is asked to.
    frame = session.read.option("mergeSchema", "true").option("basePath", root()).parquet(*files)
    return [row.asDict(recursive=True) for row in frame.collect()]


def root():
    return files[0].split("/date=")[0]


def micros(time):
    # Spark gives times without a zone, in that of the process, which is UTC here.
    zoned = time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)
    return (zoned - EPOCH) // MICROSECOND


def text_of(time, nanos):
    seconds, rest = divmod(micros(time) * 1000 + nanos, 1_000_000_000)
    at = EPOCH + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def unmarked(value):
    """The overflow text keeps types apart by marks; people see values."""
    if isinstance(value, list):
        return [unmarked(one) for one in value]
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)) in ("$bytes", "$double"):
            return next(iter(value.values()))
        inner = value["$map"] if list(value) == ["$map"] else value
        return {key: unmarked(one) for key, one in inner.items()}
    return value


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, decimal.Decimal):
        return int(value)
    if isinstance(value, dict):
        return struct(value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def struct(row):
    """A row, or an item of a list of structs: times are put together, texts of attributes opened."""
    out = {}
    for name, value in row.items():
        if f"{name}_ns" in row:
            out[name] = None if value is None else text_of(value, row[f"{name}_ns"])
        elif name == "attributes" and isinstance(value, str):
            out[name] = unmarked(json.loads(value))
        elif not (name.endswith("_ns") and name[:-3] in row):
            out[name] = plain(value)
    return out


def whole(row):
    maps = {"attributes": {}, "resource": {}}
    fixed = {}
    for name, value in row.items():
        first, _, key = name.partition(".")
        if first not in maps:
            fixed[name] = value
        elif value is not None and key:
            maps[first][key] = plain(value)
        elif value is not None:
            maps[first].update(unmarked(json.loads(value)))
    check_partition(fixed)
    if table == "metrics":
        fixed["value_int"] = integer(fixed)
    return struct(fixed) | maps


def integer(row):
    exact, marked = row.pop("value_int_exact"), row.pop("value_is_int")
    return int(row["value"]) if exact is None and marked else exact


def check_partition(row):
    """The path says in which hour a row is: engines make columns of it."""
    time = row["start_time" if table == "spans" else "time"]
    at = EPOCH + datetime.timedelta(microseconds=micros(time))
    said = (str(row.pop("date")), int(row.pop("hour")))
    assert said == (at.strftime("%Y-%m-%d"), at.hour), (said, at)


def readable(value):
    raise TypeError(f"{value!r} of {type(value)} is no JSON")


rows = {"duckdb": duckdb_rows, "pyarrow": pyarrow_rows, "chdb": chdb_rows, "pyspark": pyspark_rows}[reader]()
print(json.dumps([whole(row) for row in rows], default=readable))
