//! Who is connected: so many peers at most, and so many of them with one address.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counts::{Counted, Counts};
use super::network;

/// The places for peers.
pub struct Peers {
    places: Arc<Semaphore>,
    by_address: Counts<IpAddr>,
}

/// A connected peer's place, until it is dropped.
pub struct Place {
    _place: OwnedSemaphorePermit,
    _of_address: Counted<IpAddr>,
}

impl Peers {
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), by_address: Counts::new() }
    }

    /// Waits for a place; whoever comes meanwhile waits in the kernel's queue, which is bounded. Safe to drop.
    pub async fn vacancy(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.places).acquire_owned().await.expect("this semaphore is never closed")
    }

    /// Gives the vacancy to a peer; None where its address has `per_address` already.
    pub fn seat(&self, vacancy: OwnedSemaphorePermit, peer: IpAddr, per_address: usize) -> Option<Place> {
        let of_address = self.by_address.begin(&network(peer), per_address)?;
        Some(Place { _place: vacancy, _of_address: of_address })
    }

    /// Makes `after` places of `before`. Where there are fewer than are taken, new peers wait until enough have gone.
    pub fn resize(&self, before: usize, after: usize) {
        self.places.add_permits(after.saturating_sub(before));
        if let Ok(surplus @ 1..) = u32::try_from(before.saturating_sub(after)) {
            let places = Arc::clone(&self.places);
            tokio::spawn(async move {
                if let Ok(permits) = places.acquire_many_owned(surplus).await {
                    permits.forget();
                }
            });
        }
    }
}
