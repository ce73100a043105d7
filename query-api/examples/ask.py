#!/usr/bin/env python3
"""Ask an Icecore in SQL, from Python.

    pip install requests pyarrow pandas     # the last two are optional
    python ask.py "SELECT service_name, count(*) AS spans FROM spans GROUP BY 1 ORDER BY 2 DESC"

With pandas the answer comes as Arrow and becomes a data frame: types are kept, and nothing is parsed.
Without, it comes as JSON. ICECORE_URL says where Icecore is; http://127.0.0.1:7070 where it is not set.
"""

import os
import sys

import requests

URL = os.environ.get("ICECORE_URL", "http://127.0.0.1:7070") + "/api/v1/sql"
BY_SERVICE = """
    SELECT service_name, count(*) AS requests,
           count(*) FILTER (WHERE status_code = 'ERROR') AS failed,
           approx_percentile_cont(duration_ns, 0.99) / 1e6 AS p99_ms
    FROM spans WHERE kind = $1 GROUP BY 1 ORDER BY requests DESC
"""


class Refused(Exception):
    """Icecore says why it does not answer, and what to do about it."""


def ask(query, params=(), accept="application/json"):
    """The answer of a query, whose $1, $2, … are `params`."""
    body = {"query": query, "params": list(params)}
    answer = requests.post(URL, json=body, headers={"Accept": accept}, timeout=120)
    if not answer.ok:
        error = answer.json()["error"]
        raise Refused(f"{error['message']}; {error['hint']}")
    if missing := answer.headers.get("icecore-incomplete"):
        print(f"not everything is in this answer: {missing}", file=sys.stderr)
    return answer


def rows(query, params=()):
    """The rows as dictionaries, and what the answer says of itself."""
    answer = ask(query, params).json()
    if "error" in answer:
        raise Refused(f"the answer broke off: {answer['error']['message']}")
    names = [column["name"] for column in answer["columns"]]
    return [dict(zip(names, row)) for row in answer["rows"]], answer["stats"]


def frame(query, params=()):
    """The rows as a pandas data frame."""
    import pyarrow as pa

    answer = ask(query, params, accept="application/vnd.apache.arrow.stream")
    return pa.ipc.open_stream(answer.content).read_pandas()


def main():
    query, params = (sys.argv[1], ()) if len(sys.argv) > 1 else (BY_SERVICE, ("SERVER",))
    try:
        try:
            print(frame(query, params).to_string(index=False))
        except ImportError:
            for at, row in enumerate(rows(query, params)[0]):
                if at == 0:
                    print(*row, sep="\t")
                print(*row.values(), sep="\t")
    except Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
