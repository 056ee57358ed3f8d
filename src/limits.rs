//! How much of the gateway one caller may take up: requests in flight, rates, failed authentications, and
//! connections.
//!
//! Input: who calls whom. Output: leave to go on, held as long as the call is under way, or a [`LimitError`]. Nothing here
//! touches a database: a storm is answered early and cheaply, and stays with the tenant or the address that it comes from.
//! All state is keyed by ids, not by what a configuration made of them, so a reload resets nothing but what it changes; and
//! it is bounded, as some of the keys are callers' to make up.

mod bucket;
mod counts;
mod peers;

use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

pub use self::bucket::Standing;
use self::bucket::{Buckets, Reservation};
use self::counts::{Counted, Counts};
pub use self::peers::{Peers, Place};
use crate::config::{FailuresConfig, TenantConfig, TenantId};

/// Keys that are remembered of each kind. Only callers who authenticate make tokens' and tenants'; anybody makes the others'.
const KEYS: u64 = 100_000;

#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum LimitError {
    #[error("failures_per_address is exceeded")]
    AddressFailures(Standing),
    #[error("failures_per_tenant is exceeded")]
    TenantFailures(Standing),
    #[error("requests_per_token is exceeded")]
    Token(Standing),
    #[error("requests_per_tenant is exceeded")]
    Tenant(Standing),
    #[error("max_in_flight requests are in flight")]
    InFlight,
    #[error("max_in_flight_per_token requests are in flight")]
    TokenInFlight,
    #[error("max_in_flight callers wait for the verdict on their token")]
    Waiting,
}

impl LimitError {
    /// The policy that was exceeded, where it is a rate.
    pub fn standing(&self) -> Option<Standing> {
        match self {
            Self::AddressFailures(standing)
            | Self::TenantFailures(standing)
            | Self::Token(standing)
            | Self::Tenant(standing) => Some(*standing),
            Self::InFlight | Self::TokenInFlight | Self::Waiting => None,
        }
    }
}

/// A request that is in flight for as long as this is held.
pub struct InFlight {
    _of_tenant: Counted<TenantId>,
    _of_token: Counted<(TenantId, [u8; 32])>,
}

/// The limits' state, of the whole process.
pub struct Limits {
    tokens: Buckets<(TenantId, [u8; 32])>,
    tenants: Buckets<TenantId>,
    addresses: Buckets<IpAddr>,
    /// By the path's `{client}`, whether there is such a tenant or not.
    clients: Buckets<TenantId>,
    in_flight: Counts<TenantId>,
    in_flight_per_token: Counts<(TenantId, [u8; 32])>,
    waiting: Counts<TenantId>,
}

/// A request that may go on.
pub struct Admitted {
    pub in_flight: InFlight,
    /// Where its caller stands in each rate that is configured.
    pub standings: Vec<Standing>,
}

/// What a caller whose token may be bad has of tries. The same for every `client`, whether it exists or not: who has no token
/// isn't told which tenants there are.
#[derive(Clone, Copy)]
pub struct Tries<'a> {
    limits: &'a Limits,
    rates: FailuresConfig,
    address: IpAddr,
    client: Option<&'a TenantId>,
}

/// A try that was taken. It counts as failed unless it is [forgiven](Attempt::forgive); so does one that is dropped, or
/// whoever hangs up would try without a limit.
pub struct Attempt {
    counted: Vec<Reservation>,
}

impl Attempt {
    /// The token was good, or it is no fault of the caller's that it wasn't.
    pub fn forgive(self) {
        self.counted.into_iter().for_each(Reservation::give_back);
    }
}

impl Tries<'_> {
    /// Takes a try: for a look-up, or for a failure that needed none. Safe to drop.
    pub async fn take(&self) -> Result<Attempt, LimitError> {
        let mut attempt = Attempt { counted: Vec::new() };
        if let Some(rate) = self.rates.failures_per_address {
            let bucket = self.limits.addresses.get(&self.address, rate).await;
            attempt.counted.push(bucket.reserve().await.map_err(LimitError::AddressFailures)?);
        }
        if let (Some(rate), Some(client)) = (self.rates.failures_per_tenant, self.client) {
            let bucket = self.limits.clients.get(client, rate).await;
            match bucket.reserve().await {
                Ok(reservation) => attempt.counted.push(reservation),
                Err(standing) => {
                    // Others' failures: this address has had no try.
                    attempt.forgive();
                    return Err(LimitError::TenantFailures(standing));
                }
            }
        }
        Ok(attempt)
    }
}

impl Limits {
    pub fn new() -> Self {
        Self {
            tokens: Buckets::new("token", KEYS),
            tenants: Buckets::new("tenant", KEYS),
            addresses: Buckets::new("failures", KEYS),
            clients: Buckets::new("failures", KEYS),
            in_flight: Counts::new(),
            in_flight_per_token: Counts::new(),
            waiting: Counts::new(),
        }
    }

    /// The tries of who calls `client`, as the path names it, from `address`.
    pub fn tries<'a>(
        &'a self,
        rates: FailuresConfig,
        address: IpAddr,
        client: Option<&'a TenantId>,
    ) -> Tries<'a> {
        Tries { limits: self, rates, address: network(address), client }
    }

    /// Leave to wait for the verdict on a token. As many callers may wait as may be in flight, and beside these: who is only
    /// trying tokens takes no place from a vendor.
    pub fn wait(&self, tenant: &TenantConfig) -> Result<Counted<TenantId>, LimitError> {
        self.waiting.begin(&tenant.id, tenant.limits.max_in_flight).ok_or(LimitError::Waiting)
    }

    /// Leave for an authenticated caller, by the hash of its token. Safe to drop.
    pub async fn admit(&self, tenant: &TenantConfig, token: [u8; 32]) -> Result<Admitted, LimitError> {
        let (limits, who) = (&tenant.limits, (tenant.id.clone(), token));
        let of_token = self.in_flight_per_token.begin(&who, limits.max_in_flight_per_token);
        let of_tenant = self.in_flight.begin(&tenant.id, limits.max_in_flight);
        let in_flight = InFlight {
            _of_token: of_token.ok_or(LimitError::TokenInFlight)?,
            _of_tenant: of_tenant.ok_or(LimitError::InFlight)?,
        };
        let mut standings = Vec::new();
        // The token's first: what it is refused isn't taken from its tenant's other tokens.
        if let Some(rate) = limits.requests_per_token {
            let bucket = self.tokens.get(&who, rate).await;
            standings.push(bucket.take().map_err(LimitError::Token)?);
        }
        if let Some(rate) = limits.requests_per_tenant {
            let bucket = self.tenants.get(&tenant.id, rate).await;
            standings.push(bucket.take().map_err(LimitError::Tenant)?);
        }
        Ok(Admitted { in_flight, standings })
    }

    /// How many requests of a tenant's vendors are in flight: from their admission to their last stage's end.
    pub fn in_flight(&self, tenant: &TenantId) -> usize {
        self.in_flight.count(tenant)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// Whom an address stands for: of IPv6 the /64, which is what one subscriber has at least (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_address_stands_for_its_network() {
        assert_eq!(network(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
        assert_eq!(network(address("192.0.2.7")), address("192.0.2.7"));
        assert_eq!(network(address("::ffff:192.0.2.7")), address("192.0.2.7"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_tries_whatever_it_tries_and_others_have_theirs() {
        let (limits, rates) = (Limits::new(), FailuresConfig::default());
        for number in 0..60 {
            let client = TenantId::parse(&format!("made-up-{number}")).unwrap();
            limits.tries(rates, address("192.0.2.7"), Some(&client)).take().await.map(drop).unwrap();
        }

        let refused = limits.tries(rates, address("192.0.2.7"), None).take().await.map(drop);
        let other = limits.tries(rates, address("192.0.2.8"), None).take().await.map(drop);

        assert!(matches!(refused, Err(LimitError::AddressFailures(_))), "{refused:?}");
        assert_eq!(other, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgiven_is_not_counted() {
        let (limits, rates) = (Limits::new(), FailuresConfig::default());
        let client = TenantId::parse("A").unwrap();

        for _ in 0..2_000 {
            let attempt = limits.tries(rates, address("192.0.2.7"), Some(&client)).take().await.ok().unwrap();
            attempt.forgive();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenants_failures_are_counted_over_all_addresses_and_cost_none_of_theirs() {
        let (limits, rates) = (Limits::new(), FailuresConfig::default());
        let (client, other) = (TenantId::parse("A").unwrap(), TenantId::parse("B").unwrap());
        for number in 0..1_200 {
            let from = address(&format!("10.0.{}.{}", number / 250, number % 250));
            limits.tries(rates, from, Some(&client)).take().await.map(drop).unwrap();
        }

        for _ in 0..100 {
            let refused = limits.tries(rates, address("192.0.2.7"), Some(&client)).take().await.map(drop);
            assert!(matches!(refused, Err(LimitError::TenantFailures(_))), "{refused:?}");
        }
        assert_eq!(limits.tries(rates, address("192.0.2.7"), Some(&other)).take().await.map(drop), Ok(()));
    }
}
