//! The server behind every proxy: `/` is answered with 100 bytes, `/size/N` with N, `/slow/N` after N milliseconds.
//! Bodies of requests are read and dropped.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const THREADS: usize = 2;
const SMALL: usize = 100;
const LARGEST: usize = 4 << 20;

static BODY: [u8; LARGEST] = [b'x'; LARGEST];

/// Serves until it is killed.
pub fn run(addresses: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let listeners = addresses.iter().map(|address| bind(*address)).collect::<io::Result<Vec<_>>>()?;
        threads.push(std::thread::spawn(move || serve(listeners)));
    }
    println!("ready");
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn serve(listeners: Vec<std::net::TcpListener>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    for listener in listeners {
        tasks.spawn_local(async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(connection(stream));
            }
            #[allow(unreachable_code)]
            io::Result::Ok(())
        });
    }
    runtime.block_on(async {
        tasks.run_until(std::future::pending::<()>()).await;
        Ok(())
    })
}

/// Serves a connection until either side closes it. What goes wrong there is the proxy's business.
async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut filled = 0;
    loop {
        let head = loop {
            if let Some(position) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break position + 4;
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                length => filled += length,
            }
        };
        let asked = Asked::of(&buffer[..head]);
        let there = (filled - head).min(asked.body);
        buffer.copy_within(head + there..filled, 0);
        filled -= head + there;
        let mut missing = asked.body - there;
        while missing > 0 {
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                // No proxy sends a request before the answer to the one before.
                length => missing = missing.saturating_sub(length),
            }
        }
        if !asked.pause.is_zero() {
            tokio::time::sleep(asked.pause).await;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            asked.answer
        );
        if asked.answer <= 4096 {
            let mut whole = head.into_bytes();
            whole.extend_from_slice(&BODY[..asked.answer]);
            stream.write_all(&whole).await?;
        } else {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&BODY[..asked.answer]).await?;
        }
    }
}

struct Asked {
    answer: usize,
    body: usize,
    pause: Duration,
}

impl Asked {
    fn of(head: &[u8]) -> Self {
        let mut asked = Self { answer: SMALL, body: 0, pause: Duration::ZERO };
        let text = std::str::from_utf8(head).unwrap_or_default();
        let target = text.split(' ').nth(1).unwrap_or_default();
        let number = |prefix: &str| target.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        if let Some(size) = number("/size/") {
            asked.answer = std::cmp::min(size as usize, LARGEST);
        } else if let Some(milliseconds) = number("/slow/") {
            asked.pause = Duration::from_millis(milliseconds);
        }
        if !text.starts_with("GET ") {
            let length = text.lines().filter_map(|line| line.split_once(':'));
            let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            asked.body = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0);
        }
        asked
    }
}
