//! Inputs that are no records, and files that are cut off.

use crate::records::*;
use crate::row::*;

pub fn rows() -> Vec<Row> {
    let zipped = gzip(ACCEPT.repeat(5000).as_bytes());
    vec![
        row("unknown", "not a record\n", 0, &["unknown is not in a known record format", "strace"]),
        row("access", ACCESS, 0, &["an access log has requests, not connections"]),
        row("zip", b"PK\x03\x04", 0, &["unzip -p"]),
        row("cut.gz", &zipped[..zipped.len() - 20], ANY, &["cut.gz", "truncated"]),
        row(
            "archive.tar",
            archive(&[("log", ACCEPT), ("dump", DUMP), ("notes", "not a record\n")]),
            2,
            &["1 of 3 files in archive.tar", "for example archive.tar: notes"],
        ),
        row(
            "cut.tar",
            &archive(&[("log", ACCEPT), ("dump", &DUMP.repeat(99))])[..3000],
            2,
            &["cut.tar: dump: the archive is cut off here"],
        ),
        row(
            "endless.tar",
            &archive(&[("log", ACCEPT)])[..1024],
            1,
            &["endless.tar: the archive has no end"],
        ),
        row(
            "archives.tar.gz",
            {
                let packed = gzip(&archive(&[("log", ACCEPT), ("dump", &DUMP.repeat(99))]));
                packed[..packed.len() - 8].to_vec()
            },
            ANY,
            &["archives.tar.gz: ", "members before count"],
        ),
        row(
            "wrapped.json",
            format!("{}{}\n", json(LOG), &json(LOG)[..90]),
            1,
            &["wrapped.json: 1 objects or lines around the log"],
        ),
        row(
            "loggers.json",
            json(LOG) + &json(LOG).replace("\"log\"", "\"message\""),
            1,
            &["different loggers (members log, message)"],
        ),
        Row {
            options: &["--type", "strace"],
            ..row("access.log", ACCESS, 0, &["access.log: no line looks like strace"])
        },
        Row {
            options: &["--type", "tcpdump"],
            ..row("access.txt", ACCESS, 0, &["access.txt: no line looks like tcpdump"])
        },
        row(
            "wrapped.logfmt",
            format!("level=info msg=\"{}\"\nlevel=info msg=\"{}", LOG.trim_end(), &LOG[..99]),
            1,
            &["wrapped.logfmt: 1 objects or lines around the log"],
        ),
    ]
}
