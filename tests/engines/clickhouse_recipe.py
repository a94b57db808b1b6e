# The statements of docs/fleet.md, in ClickHouse (chDB): DOCS PARQUET LOG PORT PROGRAM. Prints the types of the table,
# then what the view has for the port, by minute and address.
import os
import re
import sys
import tempfile

from chdb.session import Session

docs, parquet, log, port, program = sys.argv[1:]
with open(docs, encoding="utf-8") as file:
    [block] = re.findall(r"```sql\n(.*?)```", file.read(), re.S)
statements = [text.strip() for text in block.split(";") if text.strip()]
with tempfile.TemporaryDirectory() as folder:
    session = Session(folder)
    session.query("CREATE DATABASE fleet ENGINE = Atomic")
    session.query("USE fleet")
    for statement in statements:
        session.query(statement.replace("events.parquet", parquet))

    def answer(sql):
        return session.query(sql, "CSV").bytes().decode().replace('"', "").replace(", 'UTC'", " UTC").strip()

    print(answer("SELECT toTypeName(time), toTypeName(peer_ip) FROM connections LIMIT 1"))
    print(
        answer(
            f"""SELECT formatDateTime(minute, '%Y-%m-%dT%H:%i:%S', 'UTC'), replaceOne(toString(peer_ip), '::ffff:', ''),
            sum(count) FROM minutes WHERE local_port = {port} GROUP BY 1, 2"""
        )
    )
    session.close()
