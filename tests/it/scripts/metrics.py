"""Reads /metrics of an Icecore as Prometheus clients do, in both formats, with their own parsers, and prints
as JSON what each says: the media type, the kind of each family, and the samples.

    metrics.py URL
"""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

# As Prometheus 2 and later ask.
NEWEST = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def ask(accept):
    request = urllib.request.Request(sys.argv[1], headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def told(accept, parser):
    media_type, text = ask(accept)
    families = list(parser(text))
    return {
        "type": media_type,
        "kinds": {family.name: family.type for family in families},
        "helps": sorted(family.name for family in families if family.documentation),
        "samples": sorted({sample.name for family in families for sample in family.samples}),
    }


print(
    json.dumps(
        {
            "nobody": told(None, plain_families),
            "plain": told("text/plain", plain_families),
            "open": told(NEWEST, open_families),
        }
    )
)
