#!/usr/bin/env python3
"""Makes the pictures of README.md: the live screen as SVG (tmux), the HTML report as PNG (Chromium, pngquant, optipng).

usage: make.py PATH/TO/tcptally
"""

import html
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
COLUMNS, LINES = 96, 20
CHARACTER_WIDTH, LINE_HEIGHT = 8.4, 18
# Addresses for documentation: RFC 5737, RFC 3849.
CLIENTS = [
    *(f"203.0.113.{n}" for n in range(1, 30)),
    *(f"2001:db8::{n:x}" for n in range(1, 12)),
    *(f"198.51.100.{n}" for n in range(1, 90)),
]
SCANNER = "192.0.2.66"


def accept(seconds, client):
    """An accept as strace prints it."""
    if ":" in client:
        address = f'sa_family=AF_INET6, sin6_port=htons(40000), inet_pton(AF_INET6, "{client}", &sin6_addr)'
    else:
        address = f'sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr("{client}")'
    return f"4711 {seconds:.6f} accept4(3<TCP:[0.0.0.0:443]>, {{{address}}}, [16], SOCK_CLOEXEC) = 4\n"


def log(begin, end, rate, scan):
    """Connections of many clients, and one that comes often in a part of the time."""
    weights = [1 / (n + 1) for n in range(len(CLIENTS))]
    lines, at = [], begin
    while at < end:
        part = (at - begin) / (end - begin)
        now = rate * (1.2 + math.sin(part * 7))
        is_scan = scan[0] < part < scan[1]
        at += random.expovariate(now * (3 if is_scan else 1))
        is_scanner = is_scan and random.random() < 0.7
        lines.append(accept(at, SCANNER if is_scanner else random.choices(CLIENTS, weights)[0]))
    return "".join(lines)


def styles(codes, style):
    """The style after an SGR sequence."""
    style = set(style)
    codes = re.sub(r"38;5;([0-7])", r"3\1", codes)
    for code in (int(c or 0) for c in codes.split(";")):
        if code == 0:
            style.clear()
        elif code == 39:
            style -= {"cyan", "yellow"}
        elif code in NAMES:
            style.add(NAMES[code])
    return style


NAMES = {1: "bold", 2: "dim", 4: "underline", 7: "reverse", 33: "yellow", 36: "cyan"}
CSS = """
.page{fill:#11161c}text{font:14px ui-monospace,SFMono-Regular,Menlo,'DejaVu Sans Mono',monospace;fill:#dfe5eb;white-space:pre}
.bold{font-weight:700}.dim{fill:#8b96a1}.underline{text-decoration:underline}.cyan{fill:#4fb3d9}.yellow{fill:#f0b53c}
.reverse{fill:#11161c}.back{fill:#dfe5eb}.back.cyan{fill:#4fb3d9}
"""


def svg(screen):
    """The text of a terminal with its colours as a picture."""
    width, height = COLUMNS * CHARACTER_WIDTH + 32, LINES * LINE_HEIGHT + 32
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">',
        f'<title>The screen of tcptally --live</title><style>{CSS}</style>',
        '<rect class="page" width="100%" height="100%" rx="10"/>',
    ]
    style = set()
    for number, line in enumerate(screen.split("\n")[:LINES]):
        column = 0
        for codes, text in re.findall(r"(?:\x1b\[([0-9;]*)m)?([^\x1b]*)", line):
            if codes:
                style = styles(codes, style)
            if not text:
                continue
            x, y = 16 + column * CHARACTER_WIDTH, 16 + number * LINE_HEIGHT
            wide = len(text) * CHARACTER_WIDTH
            names = " ".join(sorted(style))
            if "reverse" in style:
                parts.append(f'<rect class="back {names.replace("reverse", "")}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{LINE_HEIGHT}"/>')
            if text.strip():
                parts.append(f'<text class="{names}" x="{x:.1f}" y="{y + 14}" textLength="{wide:.1f}" xml:space="preserve">{html.escape(text)}</text>')
            column += len(text)
    return "\n".join(parts) + "\n</svg>\n"


def record_screen(tcptally, folder):
    """Runs the screen in tmux on the last three minutes, and returns what it shows."""
    record = os.path.join(folder, "log")
    now = time.time()
    with open(record, "w") as out:
        out.write(log(now - 175, now, 9, (0.7, 1)))
    tmux = ["tmux", "-S", os.path.join(folder, "tmux")]
    command = f"cd {folder} && TERM=xterm-256color {tcptally} parse --live --port 443 log"
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", *size, command], check=True, env=environment)
    try:
        until, before = time.monotonic() + 30, None
        while time.monotonic() < until:
            shown = subprocess.run([*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True).stdout
            rows = [line for line in shown.split("\n") if re.search(r"\d\.\d%", line)]
            # The client with the highest rate is first when all lines were read.
            if rows and SCANNER in rows[0] and shown == before:
                return shown
            before = shown
            time.sleep(0.05)
        raise SystemExit(f"the screen shows no connections:\n{shown}")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def photograph_report(tcptally, folder):
    """Writes a report of three hours and takes a picture of its beginning."""
    record, page = os.path.join(folder, "strace.log"), os.path.join(folder, "report.html")
    begin = 1_795_347_000
    with open(record, "w") as out:
        out.write(log(begin, begin + 3 * 3600, 0.6, (0.38, 0.43)))
    environment = {**os.environ, "TZ": "UTC"}
    command = [tcptally, "parse", "-F", "html", "--host", "web1", "-o", page, record]
    subprocess.run(command, check=True, env=environment)
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
               f"--user-data-dir={folder}/profile", "--window-size=1100,900",
               f"--screenshot={HERE}/report.png", f"file://{page}"]
    subprocess.run(browser, check=True, capture_output=True)
    # A third of the bytes, and no difference that is seen.
    picture = f"{HERE}/report.png"
    subprocess.run(["pngquant", "--nofs", "--strip", "--force", "-o", picture, "256", picture], check=True)
    subprocess.run(["optipng", "-quiet", "-o5", picture], check=True)


def main():
    tcptally = os.path.abspath(sys.argv[1])
    random.seed(7)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(HERE, "screen.svg"), "w") as out:
            out.write(svg(record_screen(tcptally, folder)))
        photograph_report(tcptally, folder)


if __name__ == "__main__":
    main()
