//! Heads of HTTP/2, written as lines.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traefikee_engine::fuzzing::http2_head(data));
