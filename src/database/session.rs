//! One session, from the right to open it until the server has ended it.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::budget::{Permit, Seats};
use super::connect::Driver;
use crate::config::PoolConfig;

/// Old sessions go at an age that differs by up to this part, so that a pool's sessions don't all go at once.
const AGE_JITTER: f64 = 0.2;
/// How long a session that we are done with counts for the process, if its server doesn't end it.
const LET_GO_AFTER: Duration = Duration::from_secs(1);
/// How long an opening that came to nothing counts as a session: the server notices a little later.
const GIVEN_UP_FOR: Duration = Duration::from_millis(100);

/// A session that is being opened, with its part of the budget.
pub struct Opening(Option<(Permit, Seats)>);

/// An open session. Dropped, it ends in good order: what it was asked runs to its end at the server, for a cancel could
/// hit a commit. Its part of the budget is free when the server has ended it.
pub struct Session {
    pub client: ClientWrapper,
    pub opened: Instant,
    pub idle_since: Instant,
    /// That of the pool's epochs in which it was opened.
    pub epoch: u64,
    old_at: Instant,
    _seats: Seats,
    /// Dropped with the session, for which the driver's task waits.
    _in_use: oneshot::Sender<()>,
}

impl Opening {
    pub fn by(right: (Permit, Seats)) -> Self {
        Self(Some(right))
    }

    /// Has a task of its own move the session's bytes.
    pub fn into_session(
        mut self,
        client: Client,
        driver: Driver,
        epoch: u64,
        settings: &PoolConfig,
    ) -> Session {
        let (permit, seats) = self.0.take().expect("taken here alone, which ends the opening");
        let (in_use, done_with) = oneshot::channel();
        tokio::spawn(attend(driver, permit, done_with, settings.answer_timeout()));
        let opened = Instant::now();
        let age = settings.max_connection_age.mul_f64(1.0 - AGE_JITTER * rand::random::<f64>());
        Session {
            // It wants a task that it aborts when it is dropped: not the one that sees to an orderly end.
            client: ClientWrapper::new(client, tokio::spawn(async {})),
            opened,
            idle_since: opened,
            epoch,
            old_at: opened + age,
            _seats: seats,
            _in_use: in_use,
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let (Some((permit, _seats)), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                sleep(GIVEN_UP_FOR).await;
                drop(permit);
            });
        }
    }
}

impl Session {
    pub fn is_old(&self) -> bool {
        Instant::now() >= self.old_at
    }
}

/// Drives the session until it has ended. A server that doesn't end it, because it has frozen or can't be reached, is waited
/// for as long as a statement may take.
async fn attend(driver: Driver, mut permit: Permit, done_with: oneshot::Receiver<()>, patience: Duration) {
    let abandoned = async {
        let _ = done_with.await;
        sleep(LET_GO_AFTER).await;
        permit.leave_process();
        sleep(patience).await;
    };
    tokio::select! {
        () = driver => {}
        () = abandoned => {}
    }
}
