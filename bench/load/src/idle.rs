//! Connections that have asked once and then wait.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Options;

/// How long a connection may take to open and to get its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many connect at the same time.
const AT_ONCE: usize = 100;

/// Opens the connections, prints how many there are, and holds them until standard input ends.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let address = options.address()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut held = Vec::with_capacity(options.connections);
        let mut errors = 0;
        let mut opening = JoinSet::new();
        for _ in 0..options.connections {
            let one = open(address, options.host.clone());
            opening.spawn(async { timeout(PATIENCE, one).await? });
            if opening.len() >= AT_ONCE {
                collect(&mut opening, &mut held, &mut errors).await;
            }
        }
        while !opening.is_empty() {
            collect(&mut opening, &mut held, &mut errors).await;
        }
        println!("{{\"count\": {}, \"errors\": {errors}}}", held.len());
        let mut rest = Vec::new();
        tokio::io::stdin().read_to_end(&mut rest).await?;
        Ok(())
    })
}

async fn collect(opening: &mut JoinSet<io::Result<TcpStream>>, held: &mut Vec<TcpStream>, errors: &mut usize) {
    match opening.join_next().await {
        Some(Ok(Ok(stream))) => held.push(stream),
        Some(_) => *errors += 1,
        None => {}
    }
}

async fn open(address: SocketAddr, host: String) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    // The body is x's: nothing else ends in them.
    while !answer.ends_with(&[b'x'; 100]) {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
}
