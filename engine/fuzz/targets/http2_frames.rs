//! Frames of HTTP/2 from a client.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traefikee_engine::fuzzing::http2_frames(data));
