# Connections by address per minute to a port, by DuckDB: FILE PORT. Prints the types, then the rows.
import sys

import duckdb

path, port = sys.argv[1:]
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
types = db.execute(f"SELECT typeof(time), typeof(local_port) FROM '{path}' LIMIT 1").fetchone()
print(*types, sep=",")
# A column of mixed types would be JSON, as one without a value is.
for name, kind in db.execute(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM '{path}')").fetchall():
    if kind == "JSON":
        values = db.execute(f'SELECT count("{name}") FROM \'{path}\'').fetchone()[0]
        assert values == 0, f"{name} has mixed types"
rows = db.execute(
    f"""SELECT strftime(date_trunc('minute', time), '%Y-%m-%dT%H:%M:%S'), peer_ip, count(*)
        FROM '{path}' WHERE local_port = {port} GROUP BY ALL"""
).fetchall()
# Each address is one.
db.execute(f"CREATE TABLE addresses AS SELECT DISTINCT peer_ip FROM '{path}' WHERE peer_ip IS NOT NULL")
for row in rows:
    print(*row, sep=",")
