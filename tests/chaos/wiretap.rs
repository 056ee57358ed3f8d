//! A proxy before PostgreSQL that understands what passes: it knows the claim's COMMIT and the release among a gateway's
//! statements, finds their replies by counting, and strikes once at the moment for which it is armed.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use turnpike::database::statements::{CLAIM, COMMIT, RELEASE};

use crate::faults::{Blow, Fault, Hits, Moment, Swap};
use crate::history::{Event, History};
use crate::process::GatewayProcess;
use crate::world::World;

/// A claim's answer that takes longer waits for a lock, most likely.
const CLAIMED_WITHIN: Duration = Duration::from_millis(700);

/// One blow to be dealt.
#[derive(Debug, Clone, Copy)]
pub struct Armed {
    pub swap: Swap,
    pub moment: Moment,
    pub blow: Blow,
    /// How long a freeze or a delay takes.
    pub length: Duration,
    /// A lost message cuts its connection; else the connection hangs.
    pub cuts: bool,
}

impl Armed {
    pub fn fault(&self) -> Fault {
        Fault::At(self.swap, self.moment, self.blow)
    }
}

/// The proxy of one gateway.
pub struct Wiretap {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    gateway: Mutex<Option<Arc<GatewayProcess>>>,
    armed: watch::Sender<Option<Armed>>,
    healed: Mutex<CancellationToken>,
    connections: AtomicUsize,
    /// Blows that are being dealt.
    striking: watch::Sender<usize>,
    hits: Hits,
    history: History,
}

impl Wiretap {
    pub async fn start(world: &Arc<World>, hits: Hits, history: History) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            gateway: Mutex::default(),
            armed: watch::Sender::new(None),
            healed: Mutex::default(),
            connections: AtomicUsize::new(0),
            striking: watch::Sender::new(0),
            hits,
            history,
        });
        tokio::spawn(accept(listener, Arc::clone(world), Arc::clone(&shared)));
        Self { port, shared }
    }

    /// Whose statements pass here.
    pub fn watch(&self, gateway: &Arc<GatewayProcess>) {
        *self.shared.gateway.lock().unwrap() = Some(Arc::clone(gateway));
    }

    /// Strikes at the next occasion; returns when the occasion came. Safe to drop: then there is none.
    pub async fn strike(&self, armed: Armed) {
        self.shared.armed.send_replace(Some(armed));
        let disarm = Disarm(&self.shared);
        let mut watched = self.shared.armed.subscribe();
        let _ = watched.wait_for(Option::is_none).await;
        drop(disarm);
    }

    /// Lets everything pass, and drops connections that hang.
    pub fn heal(&self) {
        self.shared.armed.send_replace(None);
        self.shared.healed.lock().unwrap().cancel();
    }

    /// Waits until the last blow was dealt.
    pub async fn until_at_rest(&self) {
        let mut striking = self.shared.striking.subscribe();
        let _ = striking.wait_for(|count| *count == 0).await;
    }

    /// Connections of the gateway that are open here.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

struct Disarm<'a>(&'a Shared);

impl Drop for Disarm<'_> {
    fn drop(&mut self) {
        self.0.armed.send_replace(None);
    }
}

async fn accept(listener: TcpListener, world: Arc<World>, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let primary = SocketAddr::from((Ipv4Addr::LOCALHOST, world.port()));
        tokio::spawn(async move {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            carry(client, primary, &shared).await;
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return; // it restarts
    };
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let link = Link {
        shared,
        pending: Mutex::new(VecDeque::from([Asked::Other])),
        claimed: watch::Sender::new(None),
    };
    tokio::select! {
        () = link.carry_requests(from_client, to_server) => {}
        () = link.carry_replies(from_server, to_client) => {}
    }
}

/// What becomes of a connection after a blow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
    /// Nothing passes in this direction any more.
    Hangs,
}

/// What the server was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Claim,
    Swap(Swap),
    Other,
}

/// One connection.
struct Link<'a> {
    shared: &'a Arc<Shared>,
    /// What the server has been asked and has not said ReadyForQuery to, oldest first; the log-in is the first.
    pending: Mutex<VecDeque<Asked>>,
    /// Whether the claim under way has made a batch; none before the server's answer.
    claimed: watch::Sender<Option<bool>>,
}

impl Link<'_> {
    async fn carry_requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        let mut statements: HashMap<Vec<u8>, Asked> = HashMap::new();
        let (mut bound, mut claims) = (Asked::Other, false);
        // The start-up message has no type byte.
        let mut prefix = 0;
        loop {
            while let Some(message) = take_message(&mut buffer, prefix) {
                let body = &message[prefix + 4..];
                // At which message the statement can be kept from the server, and by which the server has it whole.
                let (mut before, mut after) = (Asked::Other, Asked::Other);
                match (prefix, message[0]) {
                    (0, _) => {}
                    (_, b'P') => {
                        let (name, rest) = split_text(body);
                        let (sql, _) = split_text(rest);
                        statements.insert(name.to_vec(), recognise(sql));
                    }
                    (_, b'B') => {
                        let (_portal, rest) = split_text(body);
                        let (name, _) = split_text(rest);
                        bound = statements.get(name).copied().unwrap_or(Asked::Other);
                        before = bound;
                    }
                    (_, b'Q') => {
                        let (sql, _) = split_text(body);
                        // A void ends in a COMMIT, too.
                        let of_claim = std::mem::take(&mut claims);
                        before = if of_claim { recognise(sql) } else { Asked::Other };
                        after = before;
                        self.pending.lock().unwrap().push_back(before);
                    }
                    (_, b'S') => {
                        after = std::mem::replace(&mut bound, Asked::Other);
                        claims |= after == Asked::Claim;
                        self.pending.lock().unwrap().push_back(after);
                    }
                    _ => {}
                }
                prefix = 1;
                match self.strike(before, Moment::Asked).await {
                    Then::GoesOn => {}
                    Then::Ends => return,
                    Then::Hangs => return self.hang(from).await,
                }
                if to.write_all(&message).await.is_err() {
                    return;
                }
                match self.strike(after, Moment::Forwarded).await {
                    Then::GoesOn => {}
                    Then::Ends | Then::Hangs => return,
                }
            }
            if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }

    async fn carry_replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        let mut answered = false;
        loop {
            let mut out = BytesMut::new();
            while let Some(message) = take_message(&mut buffer, 1) {
                let asked = self.pending.lock().unwrap().front().copied().unwrap_or(Asked::Other);
                if matches!(asked, Asked::Swap(_)) && !answered {
                    answered = true;
                    if to.write_all(&out.split()).await.is_err() {
                        return;
                    }
                    match self.strike(asked, Moment::Answered).await {
                        Then::GoesOn => {}
                        Then::Ends => return,
                        Then::Hangs => return self.hang(from).await,
                    }
                }
                if asked == Asked::Claim && matches!(message[0], b'D' | b'E') {
                    self.claimed.send_replace(Some(message[0] == b'D' && has_made_a_batch(&message)));
                }
                out.extend_from_slice(&message);
                if message[0] != b'Z' {
                    continue;
                }
                self.pending.lock().unwrap().pop_front();
                answered = false;
                if matches!(asked, Asked::Swap(_)) {
                    if to.write_all(&out.split()).await.is_err() {
                        return;
                    }
                    match self.strike(asked, Moment::Told).await {
                        Then::GoesOn => {}
                        Then::Ends | Then::Hangs => return,
                    }
                }
                if asked == Asked::Swap(Swap::Commit) {
                    self.claimed.send_replace(None);
                }
            }
            if !out.is_empty() && to.write_all(&out).await.is_err() {
                return;
            }
            if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }

    /// Takes in what comes, and passes nothing on, until the sender goes or all is healed.
    async fn hang(&self, mut from: OwnedReadHalf) {
        let healed = self.shared.healed.lock().unwrap().clone();
        let mut sink = vec![0; 16 * 1024];
        tokio::select! {
            () = healed.cancelled() => {}
            () = async { while let Ok(1..) = from.read(&mut sink).await {} } => {}
        }
    }

    /// Whether the claim whose COMMIT is at hand took anything: a COMMIT of nothing is not worth a blow.
    async fn has_claimed(&self) -> bool {
        let mut claimed = self.claimed.subscribe();
        let told = timeout(CLAIMED_WITHIN, claimed.wait_for(Option::is_some)).await;
        matches!(told, Ok(Ok(claimed)) if *claimed == Some(true))
    }

    /// Deals the blow for which this moment was chosen, if it was.
    async fn strike(&self, asked: Asked, moment: Moment) -> Then {
        let Asked::Swap(swap) = asked else {
            return Then::GoesOn;
        };
        let is_due = |armed: &Armed| armed.swap == swap && armed.moment == moment;
        if !self.shared.armed.borrow().as_ref().is_some_and(is_due) {
            return Then::GoesOn;
        }
        if swap == Swap::Commit && !self.has_claimed().await {
            return Then::GoesOn;
        }
        let mut dealt = None;
        self.shared.armed.send_if_modified(|armed| {
            let due = armed.as_ref().is_some_and(is_due);
            if due {
                dealt = armed.take();
            }
            due
        });
        let Some(armed) = dealt else {
            return Then::GoesOn;
        };
        let gateway = self.shared.gateway.lock().unwrap().clone().expect("a wiretap watches a gateway");
        let place = format!("gateway {}, {} ms", gateway.index, armed.length.as_millis());
        let fault = armed.fault();
        self.shared.history.write(&Event::Fault { class: fault.to_string(), place });
        let striking = Striking::begin(self.shared);
        let (hit, then) = match armed.blow {
            Blow::Kill => (gateway.kill().await, Then::Ends),
            Blow::Freeze => {
                // A task of its own: this connection may go meanwhile, and the process must go on all the same.
                let freezing = tokio::spawn(async move {
                    let hit = gateway.freeze(armed.length).await;
                    drop(striking);
                    hit
                });
                let hit = freezing.await.unwrap();
                if hit {
                    self.shared.hits.count(fault);
                }
                return Then::GoesOn;
            }
            Blow::Drop => (true, if armed.cuts { Then::Ends } else { Then::Hangs }),
            Blow::Delay | Blow::Late => {
                sleep(armed.length).await;
                (true, Then::GoesOn)
            }
        };
        if hit {
            self.shared.hits.count(fault);
        }
        drop(striking);
        then
    }
}

/// Counts for as long as it is held.
struct Striking(Arc<Shared>);

impl Striking {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.striking.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Striking {
    fn drop(&mut self) {
        self.0.striking.send_modify(|count| *count -= 1);
    }
}

fn recognise(sql: &[u8]) -> Asked {
    if sql == CLAIM.sql.as_bytes() {
        Asked::Claim
    } else if sql == RELEASE.sql.as_bytes() {
        Asked::Swap(Swap::Release)
    } else if sql == COMMIT.as_bytes() {
        Asked::Swap(Swap::Commit)
    } else {
        Asked::Other
    }
}

/// Whether the row that answers a claim has a new batch's number in it.
fn has_made_a_batch(row: &[u8]) -> bool {
    const BATCH_ID: usize = 3;
    const AGAIN: usize = 9;
    let mut rest = &row[7..]; // type, length, number of columns
    let mut columns = Vec::new();
    while rest.len() >= 4 {
        let length = usize::try_from(rest.get_i32()).ok(); // -1: null
        columns.push(length.map(|length| &rest[..length]));
        rest.advance(length.unwrap_or(0));
    }
    columns[BATCH_ID].is_some() && columns[AGAIN] == Some(&[0])
}

/// A whole message, its type and length included, if one has come.
fn take_message(buffer: &mut BytesMut, prefix: usize) -> Option<Bytes> {
    let mut length = buffer.get(prefix..prefix + 4)?;
    let whole = prefix + usize::try_from(length.get_u32()).unwrap();
    (buffer.len() >= whole).then(|| buffer.split_to(whole).freeze())
}

/// A text up to its zero, and what follows.
fn split_text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).expect("texts end in a zero");
    (&bytes[..end], &bytes[end + 1..])
}
