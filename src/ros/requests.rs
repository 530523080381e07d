//! Service requests as they come, taken without waiting.

use futures::{FutureExt, Stream, StreamExt};
use r2r::{QosProfile, ServiceRequest, WrappedServiceTypeSupport};

use super::error::NodeError;
use super::log::Log;

/// The requests of one service.
pub(super) type Requests<T> = Box<dyn Stream<Item = ServiceRequest<T>> + Send + Unpin>;

/// Creates a service; errs where ROS refuses it.
pub(super) fn service<T>(
    node: &mut r2r::Node,
    name: &str,
    qos: QosProfile,
) -> Result<Requests<T>, NodeError>
where
    T: WrappedServiceTypeSupport + 'static,
    ServiceRequest<T>: Send,
{
    let requests = node
        .create_service::<T>(name, qos)
        .map_err(NodeError::ros("create a service"))?;
    Ok(Box::new(requests))
}

/// Answers a request; where that cannot be sent, the log says so.
pub(super) fn reply<T>(log: &Log, request: ServiceRequest<T>, response: T::Response)
where
    T: WrappedServiceTypeSupport + 'static,
{
    if let Err(error) = request.respond(response) {
        log.warn_throttled("replies", &format!("a reply was not sent: {error}"));
    }
}

/// Returns the next request that has come, if one has.
pub(super) fn next<T>(requests: &mut Requests<T>) -> Option<ServiceRequest<T>>
where
    T: WrappedServiceTypeSupport,
{
    requests.next().now_or_never().flatten()
}
