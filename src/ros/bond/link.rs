//! The topic over which the sides of bonds hear each other.

use std::time::Instant;

use futures::{FutureExt, Stream, StreamExt};
use r2r::bond::msg::Status;
use r2r::{Publisher, QosProfile, std_msgs};

use super::super::clock::{RosClock, time_from_stamp};
use super::super::error::NodeError;
use super::super::log::Log;
use super::{Bond, Sign};

/// The topic `bond`, in the node's namespace, with bondcpp's QoS.
pub(in super::super) struct BondLink {
    publisher: Publisher<Status>,
    messages: Box<dyn Stream<Item = Status> + Send + Unpin>,
    clock: RosClock,
    log: Log,
}

impl BondLink {
    /// Publishes and subscribes to the topic.
    pub(in super::super) fn create(
        node: &mut r2r::Node,
        clock: RosClock,
        log: Log,
    ) -> Result<Self, NodeError> {
        let messages = node
            .subscribe::<Status>("bond", QosProfile::default().keep_last(100))
            .map_err(NodeError::ros("subscribe to bond"))?;
        Ok(Self {
            publisher: node
                .create_publisher("bond", QosProfile::default().keep_last(5))
                .map_err(NodeError::ros("create the publisher of bond"))?,
            messages: Box::new(messages),
            clock,
            log,
        })
    }

    /// Lets the bond hear what has come, and publishes what it has to say.
    pub(in super::super) fn exchange(&mut self, mut bond: Option<&mut Bond>) {
        let now = Instant::now();
        while let Some(Some(status)) = self.messages.next().now_or_never() {
            let sign = Sign {
                id: &status.id,
                instance_id: &status.instance_id,
                active: status.active,
            };
            if let Some(bond) = bond.as_deref_mut()
                && bond.hear(sign, now)
            {
                self.tell(bond, false);
            }
        }
        if let Some(bond) = bond
            && let Some(active) = bond.beat(now)
        {
            self.tell(bond, active);
        }
    }

    /// Breaks the bond from this side.
    pub(in super::super) fn part(&self, bond: &mut Bond) {
        if bond.part(Instant::now()) {
            self.tell(bond, false);
        }
    }

    fn tell(&self, bond: &Bond, active: bool) {
        let sign = bond.sign(active);
        let stamp = self.clock.now().unwrap_or_default();
        let times = bond.times();
        let status = Status {
            header: std_msgs::msg::Header {
                stamp: time_from_stamp(stamp),
                frame_id: String::new(),
            },
            id: sign.id.to_owned(),
            instance_id: sign.instance_id.to_owned(),
            active: sign.active,
            heartbeat_timeout: times.heartbeat_timeout.as_secs_f32(),
            heartbeat_period: times.heartbeat_period.as_secs_f32(),
        };
        if let Err(error) = self.publisher.publish(&status) {
            let sentence = format!("a heartbeat was not published: {error}");
            self.log.warn_throttled("bond", &sentence);
        }
    }
}
