//! Who is asked: gates before stages, and the addresses of those that are asked.

use std::time::Duration;

use super::Check;
use super::names::Unique;
use crate::file::{self, UrlText};
use crate::plan::Gate;
use crate::problem::quoted;
use crate::source::At;

const MOST_GATES: usize = 64;
const GATE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer addresses are refused by servers.
const LONGEST_URL: usize = 2048;

impl Check<'_> {
    pub(super) fn gates(
        &mut self,
        at: &At<'_>,
        written: &[file::Gate],
        stages: usize,
    ) -> Vec<Gate> {
        self.at_most(at, written.len(), MOST_GATES, "gates");
        let mut names = Unique::new("gate of this rollout");
        let mut gates = Vec::with_capacity(written.len());
        for (index, gate) in written.iter().enumerate() {
            let at = at.index(index);
            names.name(&at.key("name"), &gate.name, self.problems);
            // The only answer to an error that there is; a second one will not compile until it is told apart here.
            let file::Hold::Hold = gate.on_error.unwrap_or(file::Hold::Hold);
            gates.push(Gate {
                name: gate.name.clone(),
                before_stage: self.stage_number(&at.key("before_stage"), gate.before_stage, stages),
                url: self.url(&at.key("http"), &gate.http),
                authorities: self.url_authorities(&at, "http", &gate.http, gate.ca.as_ref()),
                timeout: self.wait(&at.key("timeout"), gate.timeout.as_ref(), GATE_TIMEOUT),
            });
        }
        gates
    }

    fn stage_number(&mut self, at: &At<'_>, written: u64, stages: usize) -> usize {
        let number = usize::try_from(written).unwrap_or(usize::MAX);
        if stages > 0 && !(1..=stages).contains(&number) {
            let message = format!("there is no stage {written} to stand before");
            let hint = format!("stages count from 1, mirror stages included; the last is {stages}");
            self.problems.error(at, "T302", message, hint);
        }
        number
    }

    /// An address that is asked.
    pub(super) fn url(&mut self, at: &At<'_>, text: &UrlText) -> String {
        let UrlText(url) = text;
        let behind_scheme = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        let wrong = match behind_scheme {
            None => true,
            Some(rest) => {
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                host.is_empty()
                    || host.contains('@')
                    || url.contains('#')
                    || url.len() > LONGEST_URL
                    || !url.bytes().all(|b| b.is_ascii_graphic())
            }
        };
        if wrong {
            let message = format!("{} is no address that can be asked", quoted(url));
            self.problems.error(
                at,
                "T304",
                message,
                "write it like `http://127.0.0.1:7000/gate`, without user, spaces and `#`",
            );
        } else if let Some(rest) = behind_scheme {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            self.authority(at, host, true);
        }
        url.clone()
    }
}
