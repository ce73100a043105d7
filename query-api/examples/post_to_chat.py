#!/usr/bin/env python3
"""Post a table to a chat: what failed most in the last while, as a message for a webhook.

    pip install requests
    ICECORE_WEBHOOK=https://hooks.example/services/… python post_to_chat.py --since 15m

Slack, Mattermost, Rocket.Chat and others take `{"text": "…"}` at an incoming webhook. Whoever knows its
URL can post, so it is read from ICECORE_WEBHOOK and never shown: arguments stand in the list of processes.
It posts nothing where nothing failed, so that it can run every few minutes. ICECORE_URL says where
Icecore is.
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
    try:
        answer = requests.post(url, json={"since": since}, timeout=60)
        said = answer.json()
    except requests.RequestException as error:
        sys.exit(f"Icecore at {ICECORE} does not answer: {type(error).__name__}")
    if not answer.ok:
        sys.exit(f"{said['error']['message']}; {said['error']['hint']}")
    # An answer that broke off has the rows that were there, and says so behind them.
    if "error" in said:
        sys.exit(f"the answer broke off: {said['error']['message']}")
    return said


def post(webhook, text):
    """Posts a message. What goes wrong is told without the webhook's URL, which errors of requests name."""
    try:
        posted = requests.post(webhook, json={"text": text}, timeout=60)
    except requests.RequestException as error:
        sys.exit(f"the webhook cannot be reached: {type(error).__name__}")
    if not posted.ok:
        sys.exit(f"the webhook refused the message with status {posted.status_code}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--script", default="http_errors", help="which script is asked")
    parser.add_argument("--since", default="15m", help="from when on: `15m`, `2h`, or RFC 3339")
    asked = parser.parse_args()
    webhook = os.environ.get("ICECORE_WEBHOOK")
    if not webhook:
        parser.error("ICECORE_WEBHOOK says where the message is posted: it is not set")

    said = answer(asked.script, asked.since)
    if not said["rows"]:
        return
    columns = [column["name"] for column in said["columns"]]
    text = f"*{asked.script}*, last {asked.since}:\n```\n{table(columns, said['rows'][:ROWS_MAX])}\n```"
    if len(said["rows"]) > ROWS_MAX:
        text += f"\n{ROWS_MAX} of {len(said['rows'])} rows."
    for missing in said["stats"]["incomplete"]:
        text += f"\nNot everything is in this answer: {missing}."
    post(webhook, text)


if __name__ == "__main__":
    main()
