//! Requests at a fixed rate, whatever becomes of them: latency counts from when a request was due, so that a proxy that
//! stalls cannot hide what it kept waiting.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::{Options, report};

/// Not counted: connections are opened, the proxy's own to the origin too.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long answers that are still missing at the end are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    answer: Vec<u8>,
}

/// Sends the requests in turn over the connections. One that is due while all are busy waits, and its time runs.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let address = options.address()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", options.host);
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        connections.push(Connection { stream, due: None, answer: Vec::with_capacity(1024) });
    }
    let interval = Duration::from_secs_f64(1.0 / options.rate);
    let begun = Instant::now();
    let counted_from = begun + WARM_UP;
    let end = counted_from + options.time;
    let mut next = begun;
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut free: VecDeque<usize> = (0..options.connections).collect();
    let mut latencies = Vec::with_capacity((options.rate * options.time.as_secs_f64()) as usize + 1);
    let mut errors = 0;
    let mut events = [MaybeUninit::<Event>::uninit(); 256];
    let mut scratch = vec![0_u8; 16 * 1024];
    loop {
        let now = Instant::now();
        while next <= now && next < end {
            waiting.push_back(next);
            next += interval;
        }
        while let (Some(due), Some(index)) = (waiting.front().copied(), free.front().copied()) {
            waiting.pop_front();
            free.pop_front();
            let connection = &mut connections[index];
            connection.due = Some(due);
            // Far smaller than any socket's buffer.
            connection.stream.write_all(request.as_bytes())?;
        }
        let all_sent = next >= end && waiting.is_empty();
        if (all_sent && free.len() == connections.len()) || now > end + PATIENCE {
            break;
        }
        let until = if next < end { next } else { end + PATIENCE };
        let pause = until.saturating_duration_since(Instant::now());
        let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        let (ready, _) = epoll::wait(&poll, &mut events, Some(&pause))?;
        for event in ready {
            let index = event.data.u64() as usize;
            let connection = &mut connections[index];
            match connection.stream.read(&mut scratch) {
                Ok(0) => return Err("the proxy closed a connection".into()),
                Ok(length) => connection.answer.extend_from_slice(&scratch[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            // The body is x's: nothing else ends in them.
            if connection.answer.ends_with(&[b'x'; 100]) {
                if let Some(due) = connection.due.take().filter(|due| *due >= counted_from) {
                    latencies.push(due.elapsed().as_nanos() as u64);
                    errors += usize::from(!connection.answer.starts_with(b"HTTP/1.1 200 "));
                }
                connection.answer.clear();
                free.push_back(index);
            }
        }
    }
    // What never came counts with the time it was waited for.
    let missing = connections.iter().filter_map(|connection| connection.due).chain(waiting);
    for due in missing.filter(|due| *due >= counted_from) {
        errors += 1;
        latencies.push(due.elapsed().as_nanos() as u64);
    }
    report(latencies, errors, options.time, "");
    Ok(())
}
