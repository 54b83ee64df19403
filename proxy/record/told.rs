//! What control tells the metrics, which they cannot count.

/// What is known about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointHealth {
    /// The service's name.
    pub service: String,
    /// The version's name.
    pub version: String,
    /// The address as the file writes it.
    pub endpoint: String,
    /// Whether it receives requests.
    pub healthy: bool,
}

/// What is known about a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutState {
    /// Its name.
    pub rollout: String,
    /// The candidate's weight in percent.
    pub weight: f64,
    /// Its phase: one of [`PHASES`](super::PHASES).
    pub phase: &'static str,
    /// How far the evidence has come, by metric.
    pub evidence: Vec<(String, f64)>,
}
