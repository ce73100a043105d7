"""Reads the spans of a bucket without Icecore and prints counts and sums by service and name.

    read_bucket.py duckdb|pyarrow BUCKET_FOLDER
"""

import json
import sys

reader, bucket = sys.argv[1:3]
if reader == "duckdb":
    import duckdb

    rows = duckdb.sql(f"""
        SELECT service_name, name, count(*), sum(duration_ns)::BIGINT
        FROM read_parquet('{bucket}/data/spans/**/*.parquet', hive_partitioning = true, union_by_name = true)
        WHERE "attributes.number" IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1, 2""").fetchall()
else:
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(f"{bucket}/data/spans", format="parquet", partitioning="hive").to_table(
        columns=["service_name", "name", "duration_ns"]
    )
    groups = table.group_by(["service_name", "name"]).aggregate([("duration_ns", "count"), ("duration_ns", "sum")])
    rows = sorted(zip(*(groups[name].to_pylist() for name in ["service_name", "name", "duration_ns_count", "duration_ns_sum"])))
print(json.dumps([list(row) for row in rows]))
