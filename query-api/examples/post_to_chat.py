#!/usr/bin/env python3
"""Post a table to a chat: what failed most in the last while, as a message for a webhook.

    pip install requests
    python post_to_chat.py https://hooks.example/services/… --since 15m

Slack, Mattermost, Rocket.Chat and others take `{"text": "…"}` at an incoming webhook. It posts nothing
where nothing failed, so that it can run every few minutes. ICECORE_URL says where Icecore is.
"""

import argparse
import os
import sys

import requests

ICECORE = os.environ.get("ICECORE_URL", "http://127.0.0.1:7070")
ROWS_MAX = 10


def table(columns, rows):
    """Columns of equal width, as a message shows them in its fixed font."""
    cells = [columns] + [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in cells]
    # Three backticks would end the block that the table stands in.
    return "\n".join(line.rstrip() for line in lines).replace("```", "'''")


def answer(script, since):
    """What a script of Icecore answers: `icecore script list` shows them."""
    url = f"{ICECORE}/api/v1/scripts/{script}"
    answer = requests.post(url, json={"since": since}, timeout=60)
    if not answer.ok:
        error = answer.json()["error"]
        sys.exit(f"{error['message']}; {error['hint']}")
    return answer.json()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("webhook", help="where the message is posted")
    parser.add_argument("--script", default="http_errors", help="which script is asked")
    parser.add_argument("--since", default="15m", help="from when on: `15m`, `2h`, or RFC 3339")
    asked = parser.parse_args()

    said = answer(asked.script, asked.since)
    if not said["rows"]:
        return
    columns = [column["name"] for column in said["columns"]]
    text = f"*{asked.script}*, last {asked.since}:\n```\n{table(columns, said['rows'][:ROWS_MAX])}\n```"
    if len(said["rows"]) > ROWS_MAX:
        text += f"\n{ROWS_MAX} of {len(said['rows'])} rows."
    for missing in said["stats"]["incomplete"]:
        text += f"\nNot everything is in this answer: {missing}."
    posted = requests.post(asked.webhook, json={"text": text}, timeout=60)
    posted.raise_for_status()


if __name__ == "__main__":
    main()
