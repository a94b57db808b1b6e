//! The recipes for records in README.md and docs/ do what these say.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{NOON, line, run};

/// The lines behind `$ ` in the blocks marked `sh` of README.md and docs/*.md.
fn recipes() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).into_iter().flatten();
    let mut files: Vec<_> = docs.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    files.sort();
    files.insert(0, root.join("README.md"));
    let texts = files.into_iter().map(|file| fs::read_to_string(file).unwrap());
    let mut recipes = Vec::new();
    for text in texts {
        for block in text.split("```sh\n").skip(1) {
            let (block, _) = block.split_once("```").expect("the block ends");
            recipes.extend(block.lines().filter_map(|l| l.strip_prefix("$ ")).map(String::from));
        }
    }
    recipes
}

/// What a recipe must show, by what is in it. The first that fits.
const SHOWS: &[(&str, &str)] = &[
    ("--since '2026-11-22 11:30'", "2 connections from 1 address"),
    ("--since 11:30", "1 connection from 1 address"),
    ("--interval 1h --columns", "BYTES IN BYTES OUT MEAN DURATION MAX DURATION"),
    ("--interval 1h", "12:00:00          0 "),
    ("--interval 1d", ""),
    ("-o web", ""),
    ("web*.json", "10 connections from 2 addresses"),
    ("--by host,ip", "web2  192.0.2.7"),
    ("journalctl -kf | tcptally parse --interval", "198.51.100.7"),
    ("journalctl -kf | tcptally parse --events", ",198.51.100.7,"),
    ("journalctl -k -o short-iso", "198.51.100.7"),
    ("cap.pcap", " connections from "),
    ("snapshots/*.gz", " connections from "),
];

/// What `journalctl -kf` prints, were it to end.
const KERNEL: &str = "Nov 22 11:30:05 vm kernel: IN=eth0 OUT= \
    MAC=52:54:00:aa:bb:cc:52:54:00:dd:ee:ff:08:00 SRC=198.51.100.7 DST=192.0.2.77 LEN=60 \
    TOS=0x00 PREC=0x00 TTL=64 ID=54321 DF PROTO=TCP SPT=40000 DPT=22 WINDOW=64240 RES=0x00 SYN \
    URGP=0";

#[test]
fn recipes_for_records() {
    let recipes = recipes();
    assert!(recipes.len() >= SHOWS.len(), "{recipes:?}");
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_tcptally"), bin.join("tcptally")).unwrap();
    let journal = bin.join("journalctl");
    fs::write(&journal, format!("#!/bin/sh\necho '{KERNEL}'\n")).unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o755)).unwrap();
    let log = line(NOON + 60.0, "192.0.2.7", 443)
        + &line(NOON + 90.0, "192.0.2.7", 80)
        + &line(NOON + 5400.0, "192.0.2.7", 80)
        + &line(NOON - 90.0, "192.0.2.8", 443)
        + &line(NOON - 99.0, "192.0.2.8", 443);
    // An hour without a connection.
    fs::write(folder.path().join("strace.log"), log.replace("1795352400", "1795356000")).unwrap();
    let event = |duration: f64, bytes: [u64; 2]| {
        format!(
            "{{\"time\":\"2026-11-22T11:30:05Z\",\"local_port\":443,\"ip\":\"192.0.2.7\",\
             \"duration\":{duration},\"bytes_in\":{},\"bytes_out\":{}}}\n",
            bytes[0], bytes[1]
        )
    };
    let events = event(0.5, [20, 60]) + &event(1.5, [400, 0]);
    fs::write(folder.path().join("events.jsonl"), events).unwrap();
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records");
    symlink(records.join("pcap/le-us-ethernet/cap.pcap"), folder.path().join("cap.pcap")).unwrap();
    symlink(records.join("conntrack/snapshots-dir-gz/snap"), folder.path().join("snapshots"))
        .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for recipe in recipes {
        let gave = run(Command::new("sh")
            .args(["-c", &recipe])
            .current_dir(&folder)
            .env("PATH", &path)
            .env("TZ", "UTC")
            .stdin(Stdio::null()));
        assert_eq!(gave.status, Some(0), "{recipe}: {}", gave.err);
        let (_, shows) = SHOWS
            .iter()
            .find(|(what, _)| recipe.contains(what))
            .unwrap_or_else(|| panic!("what does '{recipe}' show?"));
        assert!(gave.unwrapped().contains(shows) || gave.out.contains(shows), "{recipe}: {gave:?}");
    }
    let days = fs::read_to_string(folder.path().join("days.csv")).unwrap();
    assert!(days.contains(",192.0.2.0/24,5,"), "{days}");
}
