# Connections by address per minute to a port, by Spark: FILE PORT. Prints the types, then the rows.
import sys

from pyspark.sql import SparkSession

path, port = sys.argv[1:]
session = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "1")
    .getOrCreate()
)
session.sparkContext.setLogLevel("ERROR")
reader = session.read.option("inferSchema", True).option("header", True).option("inferTimestamp", True)
form = path.rsplit(".", 1)[1]
events = {"jsonl": reader.json, "csv": reader.csv, "parquet": reader.parquet}[form](path)
types = dict(events.dtypes)
print(types["time"], types["local_port"], sep=",")
events.createOrReplaceTempView("events")
rows = session.sql(
    f"""SELECT date_format(date_trunc('MINUTE', time), "yyyy-MM-dd'T'HH:mm:ss"), peer_ip, count(*)
        FROM events WHERE local_port = {port} GROUP BY 1, 2"""
).collect()
for row in rows:
    print(*row, sep=",")
session.stop()
