//! Any bytes as a record of type vpc-flow.
#![no_main]

mod record;

libfuzzer_sys::fuzz_target!(|data: &[u8]| record::read("vpc-flow", data));
