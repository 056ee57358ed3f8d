//! JSON built in SQL, as an API in front of the database would do it.
//!
//! A peer's process answers every request with one document that PostgreSQL builds, over the same HTTP and TLS, fetched by the
//! same curl; in the same transaction it marks what it hands over, as any real one would have to. It keeps no ledger, checks
//! no token, and its connection is open and its statement prepared before the first request: all in its favour. Each form runs
//! with `jit` as PostgreSQL has it by default, which is on, and with it off, which is faster for each of them.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_postgres::{Client, IsolationLevel, NoTls, Row, Statement};
use tokio_rustls::TlsAcceptor;

use crate::process::Gateway;
use crate::world::{World, run};

const MARK: &str = include_str!("sql/mark.sql");
/// The benchmark's own program, started again, is the peer's process.
pub const COMMAND: &str = "pass-through";

/// A way to write the document as one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub name: &'static str,
    statement: &'static str,
    /// Parts of the statement, each with what is put in its place.
    replaced: &'static [(&'static str, &'static str)],
    pub what: &'static str,
    /// Whether dates and numbers have the wire's form, so that its document must be the gateway's.
    pub is_the_wires: bool,
}

/// PostgreSQL's functions and types for JSON, and those for jsonb in their place.
const IN_JSONB: [(&str, &str); 4] = [
    ("row_to_json(", "to_jsonb("),
    ("json_agg(", "jsonb_agg("),
    ("json_build_object(", "jsonb_build_object("),
    ("::json)", "::jsonb)"),
];

const HAND_WRITTEN: Form = Form {
    name: "hand_written",
    statement: include_str!("sql/hand_written.sql"),
    replaced: &[],
    what: "written by hand, the wire's own form",
    is_the_wires: true,
};

pub const FORMS: [Form; 4] = [
    HAND_WRITTEN,
    Form {
        name: "jsonb",
        replaced: &IN_JSONB,
        what: "the same in jsonb, which has an order of keys of its own",
        ..HAND_WRITTEN
    },
    Form {
        name: "postgrest",
        statement: include_str!("sql/postgrest.sql"),
        replaced: &[],
        what: "as PostgREST generates it",
        is_the_wires: false,
    },
    Form {
        name: "hasura",
        statement: include_str!("sql/hasura.sql"),
        replaced: &[],
        what: "as Hasura generates it",
        is_the_wires: false,
    },
];

/// PostgreSQL's compiler of expressions: on unless somebody turns it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jit {
    On,
    Off,
}

impl Jit {
    pub fn setting(self) -> &'static str {
        match self {
            Self::On => "SET jit = on",
            Self::Off => "SET jit = off",
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Self::On => "PostgreSQL's defaults",
            Self::Off => "jit off",
        }
    }
}

impl Form {
    pub fn sql(self) -> String {
        self.replaced.iter().fold(self.statement.to_owned(), |sql, (old, new)| {
            assert!(sql.contains(old), "{}: its statement has no {old}", self.name);
            sql.replace(old, new)
        })
    }

    /// Starts a peer that serves this form from a database.
    pub fn serve(self, world: &World, jit: Jit, database: &str) -> Gateway {
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command.args([COMMAND, self.name, jit.setting(), &world.url(database)]).arg(&world.directory);
        Gateway::watch(command)
    }
}

/// The peer's process: `pass-through FORM SETTING DATABASE_URL DIRECTORY_OF_THE_CERTIFICATE`. Ends when it is killed.
pub async fn serve(arguments: &[String]) {
    let [form, setting, url, directory] = arguments else {
        panic!("{COMMAND} takes a form, a setting, a URL and a directory")
    };
    let form = FORMS.into_iter().find(|known| known.name == form).expect("a known form");
    let peer = Arc::new(Mutex::new(Peer::connect(form, setting, url).await));
    let tls = TlsAcceptor::from(Arc::new(server_config(&PathBuf::from(directory))));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    eprintln!("{{\"listen\":\"{address}\"}}");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        tokio::spawn(answer(stream, tls.clone(), Arc::clone(&peer)));
    }
}

async fn answer(stream: TcpStream, tls: TlsAcceptor, peer: Arc<Mutex<Peer>>) {
    let stream = tls.accept(stream).await.expect("TLS");
    let service = service_fn(|_request: Request<Incoming>| {
        let peer = Arc::clone(&peer);
        async move {
            let document = peer.lock().await.build().await;
            Ok::<_, Infallible>(Response::new(Full::new(document)))
        }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.expect("HTTP/1.1");
}

fn server_config(directory: &Path) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(directory.join("gateway.pem")).expect("a certificate");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(directory.join("gateway.key")).expect("a key");
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair")
}

struct Peer {
    client: Client,
    document: Statement,
    mark: Statement,
}

impl Peer {
    async fn connect(form: Form, setting: &str, url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
        tokio::spawn(connection);
        run(&client, setting).await;
        let document = client.prepare(&form.sql()).await.expect("the document's statement");
        let mark = client.prepare(MARK).await.expect("the mark's statement");
        Self { client, document, mark }
    }

    /// Builds the document and marks what is in it; both statements see the same rows.
    async fn build(&mut self) -> Bytes {
        let transaction = self.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let transaction = transaction.start().await.expect("a transaction");
        let row = transaction.query_one(&self.document, &[]).await.expect("the document");
        transaction.execute(&self.mark, &[]).await.expect("the marks");
        transaction.commit().await.expect("a commit");
        Bytes::from_owner(Document(row))
    }
}

/// The row's one text, not copied.
struct Document(Row);

impl AsRef<[u8]> for Document {
    fn as_ref(&self) -> &[u8] {
        self.0.get::<_, &str>(0).as_bytes()
    }
}
