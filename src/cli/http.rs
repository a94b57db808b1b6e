//! A small HTTP server for scrapes: GET and HEAD, one request per connection, with limits for each
//! client: time, memory and threads.
//!
//! tiny_http 0.12 has no such bounds: it sets no timeout on its sockets, reads lines of any length
//! and starts a thread for each client, so that clients could exhaust the process that traces.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::sys::capability::{self, Duty};

/// Limits for clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The time limit for the request and the response together.
    pub total: Duration,
    /// Maximum number of simultaneous clients; further ones wait.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { total: Duration::from_secs(5), clients: 16 }
    }
}

/// Maximum length of a request in bytes.
const MAX_REQUEST_BYTES: usize = 8192;

/// Bytes that are written between two checks of the deadline.
const CHUNK_BYTES: usize = 1 << 16;

/// The delay before accept is retried after it has failed, for example without free descriptors.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpRequest {
    /// GET, HEAD or another method.
    pub method: String,
    /// The path, without what follows a question mark.
    pub path: String,
    /// The headers `Accept` and `User-Agent`; empty if they are not given.
    pub accept: String,
    /// See `accept`.
    pub user_agent: String,
    /// Whether it is a scraper that stores the samples. Prometheus and compatible scrapers send their time-out.
    pub is_scraper: bool,
    /// The client's address.
    pub client: Option<IpAddr>,
}

/// The response for a path.
pub(super) struct Resource {
    /// The media type of the body.
    pub content_type: &'static str,
    /// The content.
    pub body: Vec<u8>,
}

/// Serves the clients of `listener` in threads. `find` returns the response to a request.
pub(super) fn serve(
    listener: TcpListener,
    limits: Limits,
    find: impl Fn(&HttpRequest) -> Option<Resource> + Send + Sync + 'static,
) -> io::Result<()> {
    let find = Arc::new(find);
    let (free, slots) = sync_channel(limits.clients);
    for _ in 0..limits.clients {
        let _ = free.try_send(());
    }
    Builder::new().name("metrics".into()).spawn(move || {
        // Clients are not trusted. Failure is harmless: nothing is executed.
        let _ = capability::renounce_new();
        let _ = capability::give_up_beyond(Duty::Answer);
        while slots.recv().is_ok() {
            let slot = Slot(free.clone());
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(RETRY_DELAY);
                continue;
            };
            let find = find.clone();
            // If no thread can be started, the client is disconnected.
            let _ = Builder::new().name("scrape".into()).spawn(move || {
                // The failure of one client does not concern others.
                let _ = answer(&stream, Instant::now() + limits.total, &*find);
                drop(slot);
            });
        }
    })?;
    Ok(())
}

/// The permission to serve one client, returned when this is dropped.
struct Slot(SyncSender<()>);

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

fn answer(
    stream: &TcpStream,
    deadline: Instant,
    find: &dyn Fn(&HttpRequest) -> Option<Resource>,
) -> io::Result<()> {
    let text = |text: &str| Resource { content_type: "text/plain", body: text.into() };
    let (status, method, resource) = match read_request(stream, deadline) {
        Ok(Some(request)) if request.method != "GET" && request.method != "HEAD" => {
            ("405 Method Not Allowed", request.method, text("only GET and HEAD\n"))
        }
        Ok(Some(request)) => match find(&request) {
            Some(resource) => ("200 OK", request.method, resource),
            None => ("404 Not Found", request.method, text("see /metrics\n")),
        },
        Ok(None) => (
            "431 Request Header Fields Too Large",
            String::new(),
            text("at most 8192 bytes of request\n"),
        ),
        Err(e) => return Err(e),
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let Resource { content_type, body } = resource;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         {allow}Connection: close\r\n\r\n",
        body.len()
    );
    write_until(stream, head.as_bytes(), deadline)?;
    if method == "HEAD" {
        return Ok(());
    }
    write_until(stream, &body, deadline)
}

/// Reads a request with all its headers: closing a connection with unread data
/// would reset it before the client has the response. `None`: the request is too long.
fn read_request(mut stream: &TcpStream, deadline: Instant) -> io::Result<Option<HttpRequest>> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        let n = match stream.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        request.extend_from_slice(&buffer[..n]);
        if n == 0 || ends(&request) {
            break;
        }
        if request.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    }
    let client = stream.peer_addr().ok().map(|address| address.ip().to_canonical());
    Ok(Some(parse_request(&String::from_utf8_lossy(&request), client)))
}

fn parse_request(text: &str, client: Option<IpAddr>) -> HttpRequest {
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let header = |name: &str| {
        let values = lines.clone().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        });
        values.collect::<Vec<_>>().join(",")
    };
    HttpRequest {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or("").to_owned(),
        accept: header("accept"),
        user_agent: header("user-agent"),
        is_scraper: !header("x-prometheus-scrape-timeout-seconds").is_empty(),
        client,
    }
}

/// Whether the empty line after the headers has been received.
fn ends(request: &[u8]) -> bool {
    let has = |end: &[u8]| memchr::memmem::find(request, end).is_some();
    has(b"\r\n\r\n") || has(b"\n\n") || request.starts_with(b"\r\n") || request.starts_with(b"\n")
}

fn write_until(mut stream: &TcpStream, bytes: &[u8], deadline: Instant) -> io::Result<()> {
    for mut chunk in bytes.chunks(CHUNK_BYTES) {
        while !chunk.is_empty() {
            stream.set_write_timeout(Some(time_left(deadline)?))?;
            match stream.write(chunk) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => chunk = &chunk[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with a large resource, and its address.
    fn served(total: Duration, clients: usize) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let find = |request: &HttpRequest| {
            let body = match request.path.as_str() {
                "/" => b"hello\n".to_vec(),
                "/large" => vec![b'x'; 64 << 20],
                _ => return None,
            };
            Some(Resource { content_type: "text/plain", body })
        };
        serve(listener, Limits { total, clients }, find).unwrap();
        address
    }

    fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn silent_clients_do_not_delay_others() {
        let address = served(Duration::from_secs(600), 16);
        let silent: Vec<_> = (0..15).map(|_| TcpStream::connect(address).unwrap()).collect();
        let answer = ask(address, "GET /?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
        drop(silent);
    }

    /// Each of them occupies the only slot; the next client gets it after the time limit.
    #[test]
    fn slow_clients_are_disconnected_after_the_total_time() {
        let total = Duration::from_millis(300);
        let address = served(total, 1);
        let began = Instant::now();
        let silent = TcpStream::connect(address).unwrap();
        let mut unread = TcpStream::connect(address).unwrap();
        unread.write_all(b"GET /large HTTP/1.1\r\n\r\n").unwrap();
        let mut trickling = TcpStream::connect(address).unwrap();
        let trickle = std::thread::spawn(move || {
            while trickling.write_all(b"G").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(ask(address, "GET / HTTP/1.0\n\n").ends_with("hello\n"));
        assert!(began.elapsed() >= 3 * total);
        trickle.join().unwrap();
        drop((silent, unread));
    }

    #[test]
    fn requests_of_any_length_are_refused() {
        let address = served(Duration::from_secs(60), 2);
        let mut stream = TcpStream::connect(address).unwrap();
        let long = vec![b'a'; MAX_REQUEST_BYTES + 1];
        stream.write_all(&long).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let answer = ask(address, "GET /none HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(ask(address, "HEAD / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
        assert!(ask(address, "POST / HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
    }
}
