//! What the tests share: one cluster a run ([`database`]), a gateway in this process ([`gateway`]) or as the built binary
//! ([`program`]), the vendor who calls it ([`vendor`]), one who writes by hand ([`raw`]), and a [`proxy`] to break.

pub mod collector;
pub mod database;
pub mod gateway;
pub mod operator;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod record;
pub mod scrape;
pub mod slow_vendor;
pub mod vendor;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::database::TestDatabase;
pub use self::gateway::{TOKEN, TestGateway};
pub use self::operator::TestOperator;
pub use self::program::{Serving, turnpike};
pub use self::proxy::Proxy;
pub use self::raw::RawPeer;
pub use self::slow_vendor::SlowVendor;
pub use self::vendor::{Answer, Vendor};

/// Asks again and again until the condition holds; panics with `what` when it doesn't within ten seconds.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
