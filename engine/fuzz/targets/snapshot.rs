//! Documents of snapshots, and changes of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traefikee_engine::fuzzing::snapshot(data));
