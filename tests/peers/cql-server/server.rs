//! Serves kassandra, a database in memory that speaks version 4 of Cassandra's protocol, on a port of
//! loopback: `cql-server PORT`. The library has the database and its messages; here are the socket, the
//! compression of bodies, and a thread for each request, so that answers come in any order.
//!
//! Invariant: a request has one answer, whatever becomes of it.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use kassandra::KassandraSession;
use kassandra::error::DbError;
use kassandra::frame::FrameFlags;
use kassandra::frame::request::{Request, RequestOpcode};
use kassandra::frame::response::Response;
use kassandra::frame::response::error::Error;
use kassandra::frame::response::result::QueryResult;
use kassandra::frame::response::supported::Supported;

const VERSION: u8 = 4;
const COMPRESSED: u8 = 1;
const BODY_BYTES_MAX: usize = 64 << 20;

type Database = Arc<Mutex<KassandraSession>>;
type Failure = Box<dyn std::error::Error>;

/// What is known of a connection.
struct Connection {
    database: Database,
    writer: Mutex<TcpStream>,
    keyspace: Mutex<Option<String>>,
    compression: Mutex<Option<String>>,
}

/// The head of a request.
struct Head {
    version: u8,
    flags: u8,
    stream: [u8; 2],
    kind: u8,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> Result<(), Failure> {
    let port = std::env::args().nth(1).ok_or("cql-server PORT")?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let database: Database = Arc::new(Mutex::new(KassandraSession::new()));
    for client in listener.incoming() {
        let (client, database) = (client?, Arc::clone(&database));
        thread::spawn(move || serve(client, database));
    }
    Ok(())
}

fn serve(client: TcpStream, database: Database) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    client.set_nodelay(true).map_err(failed)?;
    let connection = Arc::new(Connection {
        database,
        writer: Mutex::new(client.try_clone().map_err(failed)?),
        keyspace: Mutex::default(),
        compression: Mutex::default(),
    });
    let mut reader = BufReader::with_capacity(1 << 16, client);
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).map_err(failed)?;
        let [version, flags, high, low, kind, len @ ..] = head;
        let len = u32::from_be_bytes(len) as usize;
        if len > BODY_BYTES_MAX {
            return Err(format!("a body of {len} bytes"));
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).map_err(failed)?;
        let head = Head { version, flags, stream: [high, low], kind };
        let connection = Arc::clone(&connection);
        let begins = kind == RequestOpcode::Startup as u8;
        let work = move || connection.request(&head, body);
        // What follows on this one depends on it.
        if begins { work() } else { drop(thread::spawn(work)) }
    }
}

impl Connection {
    fn request(&self, head: &Head, body: Vec<u8>) {
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(head, &body)));
        let lost = || Error::new(DbError::ServerError, "this server cannot do that");
        let answer = answer.unwrap_or_else(|_| Err(lost())).unwrap_or_else(Response::Error);
        let mut plain = Vec::new();
        if answer.serialize(&mut plain, &mut FrameFlags::empty()).is_err() {
            return;
        }
        let compression = lock(&self.compression).clone();
        // Short ones are not worth it.
        let packed = compression.filter(|_| plain.len() > 64).map(|name| pack(&name, &plain));
        let flags = if packed.is_some() { COMPRESSED } else { 0 };
        let body = packed.unwrap_or(plain);
        let mut message = vec![0x80 | VERSION, flags];
        message.extend(head.stream);
        message.push(answer.opcode());
        message.extend((body.len() as u32).to_be_bytes());
        message.extend(body);
        // The client may be gone.
        drop(lock(&self.writer).write_all(&message));
    }

    fn answer(&self, head: &Head, body: &[u8]) -> Result<Response, Error> {
        if head.version != VERSION {
            return Ok(Response::unsupported_version());
        }
        let packed = lock(&self.compression).clone();
        let plain = match packed.filter(|_| head.flags & COMPRESSED != 0) {
            Some(name) => unpack(&name, body)?,
            None => body.to_vec(),
        };
        let refused = |_| Error::new(DbError::ProtocolError, "no such request");
        let kind = RequestOpcode::try_from(head.kind).map_err(refused)?;
        let flags = FrameFlags::from_bits_truncate(head.flags & !COMPRESSED);
        let result = match Request::deserialize(kind, &plain, flags)? {
            Request::StartUp(options) => {
                *lock(&self.compression) = options.get("COMPRESSION").cloned();
                return Ok(Response::Ready);
            }
            Request::Options => return Ok(options()),
            Request::Register { .. } => return Ok(Response::Ready),
            Request::AuthResponse => return Err(refused_login()),
            Request::Query(query) => self.with(|database| database.process(query)),
            Request::Prepare(query) => self.with(|database| database.prepare(query)),
            Request::Execute(execute) => self.with(|database| database.execute(execute)),
            Request::Batch(batch) => self.with(|database| database.process_batch(batch)),
        }?;
        if let QueryResult::SetKeyspace(set) = &result {
            *lock(&self.keyspace) = Some(set.keyspace_name.clone());
        }
        Ok(Response::Result(result))
    }

    /// Does this in the keyspace of the connection.
    fn with<T>(&self, work: impl FnOnce(&mut KassandraSession) -> T) -> T {
        let keyspace = lock(&self.keyspace).clone().unwrap_or_else(|| "system".to_owned());
        let mut database = lock(&self.database);
        database.use_keyspace(keyspace);
        work(&mut database)
    }
}

fn refused_login() -> Error {
    Error::new(DbError::AuthenticationError, "nobody has to say who they are")
}

fn options() -> Response {
    let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let options: HashMap<String, Vec<String>> = [
        ("CQL_VERSION".to_owned(), list(&["3.4.5"])),
        ("COMPRESSION".to_owned(), list(&["lz4", "snappy"])),
        ("PROTOCOL_VERSIONS".to_owned(), list(&["4/v4"])),
    ]
    .into();
    Response::Supported(Supported { options })
}

fn pack(name: &str, plain: &[u8]) -> Vec<u8> {
    if name == "lz4" {
        let len = (plain.len() as u32).to_be_bytes();
        [&len[..], &lz4_flex::block::compress(plain)].concat()
    } else {
        snap::raw::Encoder::new().compress_vec(plain).unwrap_or_default()
    }
}

fn unpack(name: &str, packed: &[u8]) -> Result<Vec<u8>, Error> {
    let plain = if name == "lz4" {
        packed.split_first_chunk::<4>().and_then(|(len, block)| {
            let len = (u32::from_be_bytes(*len) as usize).min(BODY_BYTES_MAX);
            lz4_flex::block::decompress(block, len).ok()
        })
    } else {
        snap::raw::Decoder::new().decompress_vec(packed).ok()
    };
    plain.ok_or_else(|| Error::new(DbError::ProtocolError, "a body that cannot be unpacked"))
}
