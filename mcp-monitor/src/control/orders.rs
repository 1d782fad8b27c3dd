//! What operators want done: handed to the pipeline, which alone gives orders to the sensor, and answered by it.

use super::peer::Peer;
use tokio::sync::{mpsc, oneshot};

/// Orders that wait.
const ORDERS_MAX: usize = 16;

/// Freezes or lets go an instance.
#[derive(Debug)]
pub struct Order {
    /// What.
    pub kind: OrderKind,
    /// Which instance.
    pub instance: String,
    /// Who asked.
    pub peer: Peer,
    /// Why.
    pub reason: String,
    /// How many processes were concerned, or why none.
    pub answer: oneshot::Sender<Result<u64, String>>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// All its processes stop.
    Pause,
    /// They go on.
    Resume,
}

/// Where orders come in.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Order>);

/// Where orders are given.
#[derive(Clone, Debug)]
pub(super) struct Sender(mpsc::Sender<Order>);

impl Orders {
    pub(super) fn new() -> (Sender, Self) {
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        (Sender(sender), Self(receiver))
    }

    /// The next one. Waits for ever when nobody can give one any more.
    pub async fn next(&mut self) -> Order {
        match self.0.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

impl Sender {
    /// Gives an order and waits for what comes of it.
    pub(super) async fn give(
        &self,
        kind: OrderKind,
        instance: String,
        peer: Peer,
        reason: String,
    ) -> Result<u64, String> {
        let (answer, answered) = oneshot::channel();
        let order = Order { kind, instance, peer, reason, answer };
        self.0.try_send(order).map_err(|_| "too many orders wait; try again".to_owned())?;
        answered.await.map_err(|_| "the monitor is ending".to_owned())?
    }
}
