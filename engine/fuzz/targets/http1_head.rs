//! Heads of HTTP/1: scanned, parsed, passed on.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traefikee_engine::fuzzing::http1_head(data));
