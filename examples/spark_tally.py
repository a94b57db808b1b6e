#!/usr/bin/env python3
"""Count the connections in many records with Spark. Writes one report in JSON.

    spark-submit --files /usr/bin/tcptally examples/spark_tally.py -o report.json --by ip,host \\
        --host-from '{host}/*' 'hdfs:///logs/*/strace.log.gz' -- --port 443

Each task gives its records to `tcptally parse`, which makes one report of them. The reports are merged in a tree
(treeReduce), by tcptally, too. Options behind `--` are for the records: --port, --since, --type and others.

tcptally is the file that spark-submit sends along (--files), or $TCPTALLY of the driver, a path on each executor.
Exit status 3: the report is not complete; its `warnings` and `inputs` say why.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

from pyspark import SparkFiles
from pyspark.sql import SparkSession

# What a report must be counted by, so that a merged one can be counted by these keys.
OF_ADDRESS = ("ip", "net", "asn", "country")


def tcptally(command, files):
    """The report of `tcptally parse` on (name, content) pairs; None without files."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, content in files:
            name = name.lstrip("/")
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            names.append(name)
        if not names:
            return None
        program, *options = command
        if not program:
            program = SparkFiles.get("tcptally")
            os.chmod(program, 0o755)
        argv = [program, "parse", "--no-config", "--quiet", "--format", "json", *options, "--", *names]
        done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    # 1: a record could not be read, and the report says which.
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    return done.stdout


def path_of(uri):
    """The path in a URI such as hdfs://namenode/logs/web1/strace.log."""
    return re.sub(r"^[a-z][a-z0-9+.-]*:(//[^/]*)?", "", uri)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="+")
    parser.add_argument("--by", default="ip")
    parser.add_argument("--interval")
    parser.add_argument("--top")
    parser.add_argument("--host-from")
    parser.add_argument("-o", "--output", help="a file; spark-submit mixes stdout with its own messages")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]

    program = os.environ.get("TCPTALLY", "")
    keys = ["ip"] + [key for key in args.by.split(",") if key not in OF_ADDRESS]
    merged = [program, "--by", ",".join(keys)]
    merged += ["--interval", args.interval] if args.interval else []
    of_records = merged + (["--host-from", args.host_from] if args.host_from else []) + options

    session = SparkSession.builder.appName("tcptally").getOrCreate()
    files = session.sparkContext.binaryFiles(",".join(args.records))
    files = files.map(lambda file: (path_of(file[0]), file[1]))
    reports = files.mapPartitions(lambda part: filter(None, [tcptally(of_records, list(part))]))

    def merge(a, b):
        return tcptally(merged, [("a.json", a), ("b.json", b)])

    report = reports.treeReduce(merge, depth=3)
    # The rows that are asked for: before, a row that is small everywhere may be a large one in all.
    shown = [program, "--by", args.by] + merged[3:] + (["--top", args.top] if args.top else [])
    report = tcptally(shown, [("all.json", report)])
    session.stop()
    with open(args.output, "wb") if args.output else sys.stdout.buffer as out:
        out.write(report)
    return 0 if json.loads(report)["complete"] else 3


if __name__ == "__main__":
    sys.exit(main())
