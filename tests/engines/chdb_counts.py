# Connections by address per minute to a port, by ClickHouse (chDB): FILE PORT. Prints the types, then the rows.
import sys

import chdb

path, port = sys.argv[1:]
form = {"jsonl": "JSONEachRow", "csv": "CSVWithNames", "parquet": "Parquet"}[path.rsplit(".", 1)[1]]
source = f"file('{path}', '{form}')"
# Text becomes a time here, as it does in a table with a column DateTime64.
settings = "SETTINGS date_time_input_format = 'best_effort', session_timezone = 'UTC'"


def query(sql):
    return chdb.query(f"{sql} {settings}", "CSV").bytes().decode().replace('"', "")


print(query(f"SELECT any(toTypeName(time)), any(toTypeName(local_port)) FROM {source}").strip().replace(", 'UTC'", " UTC"))
# An address of either family is an IPv6.
print(
    query(
        f"""SELECT formatDateTime(toStartOfMinute(toDateTime64(time, 6, 'UTC')), '%Y-%m-%dT%H:%i:%S', 'UTC'),
            replaceOne(toString(toIPv6(peer_ip)), '::ffff:', ''), count()
        FROM {source} WHERE local_port = {port} GROUP BY 1, 2"""
    ).strip()
)
