//! Any bytes as a record of type windows-firewall.
#![no_main]

mod record;

libfuzzer_sys::fuzz_target!(|data: &[u8]| record::read("windows-firewall", data));
