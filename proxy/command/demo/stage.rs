//! The demo's file on disk, in a folder of its own, and its edit.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_config::Share;
use tidegate_config::units::show_duration;

/// The salt of the split below: its route's name and its rule's.
pub(super) const SALT: &str = "shop.everyone";

/// The rollout below, and the salt of its first attempt.
pub(super) const ROLLOUT: &str = "shop-v2";

/// The salt of its second attempt.
pub(super) const RETRY_SALT: &str = "shop-v2#2";

/// Its weights, 5 % and 25 %.
pub(super) const STAGES: [Share; 2] = [
    Share::from_parts(5_000).expect("5 % is a share"),
    Share::from_parts(25_000).expect("25 % is a share"),
];

/// It stays at the last one: longer than anybody watches.
const LAST_HOLD: Duration = Duration::from_secs(3600);

/// The first stage ends with so many of the candidate's requests.
const FIRST_REQUESTS: u64 = 20;

/// What the one rule of the file says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    /// This share for the second version.
    Split(Share),
    /// The share grows after this hold, and v1 may answer in the place of v2.
    Rollout {
        /// Of the first stage.
        hold: Duration,
        /// Whether stable answers in the candidate's place.
        fallback: bool,
    },
}

/// The folder, the file in it, and the addresses that it names. Dropped, the folder is removed.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    /// What the proxy runs by.
    pub(super) file: PathBuf,
    /// Where the users go.
    pub(super) address: SocketAddr,
    /// The admin API.
    pub(super) admin: SocketAddr,
    versions: [SocketAddr; 2],
}

impl Stage {
    /// Writes the file.
    pub(super) fn build(versions: [SocketAddr; 2], plan: &Plan) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidegate-demo-{:016x}", fastrand::u64(..)));
        // For this user alone, and not there yet: in a shared folder anybody may have made one.
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let [address, admin] = free_addresses()?;
        let stage = Self {
            file: folder.join("tidegate.yaml"),
            folder,
            address,
            admin,
            versions,
        };
        stage.edit(plan)?;
        Ok(stage)
    }

    /// Puts a new file in the place of the old one, in one step, as editors do.
    pub(super) fn edit(&self, plan: &Plan) -> io::Result<()> {
        let new = self.folder.join("tidegate.yaml.new");
        fs::write(&new, self.text(plan))?;
        fs::rename(&new, &self.file)
    }

    fn text(&self, plan: &Plan) -> String {
        let Self {
            address,
            admin,
            versions: [v1, v2],
            ..
        } = self;
        format!(
            "# Written by `tidegate demo`. With --stay, edit it and watch: an edit is in force within a second.
version: 1
runtime:
  drain: {{ min: 100ms, max: 2s }}
admin:
  address: {admin}
listeners:
  - name: demo
    address: {address}
    trusted_headers: [x-user-id]        # the demo's own users may say who they are
identity:
  user:
    - header: x-user-id
services:
  - name: shop
    stable: v1
    versions:
      - {{ name: v1, endpoints: [\"{v1}\"] }}
      - {{ name: v2, endpoints: [\"{v2}\"] }}
routes:
  - name: shop
    service: shop
    rules:
      - name: everyone
{}",
            plan.rule_and_rollout()
        )
    }
}

impl Plan {
    /// What the rule does, and the rollout where there is one.
    fn rule_and_rollout(&self) -> String {
        match self {
            Self::Split(share) => {
                let rest = Share::from_parts(Share::FULL.parts() - share.parts())
                    .expect("what is left of a whole is a share");
                format!("        split: {{ by: user, weights: {{ v2: {share}, v1: {rest} }} }}\n")
            }
            Self::Rollout { hold, fallback } => {
                let [first, last] = STAGES;
                let (hold, last_hold) = (show_duration(*hold), show_duration(LAST_HOLD));
                let fallback = if *fallback {
                    "    fallback: stable                    # where v2 fails a request, v1 answers it\n"
                } else {
                    ""
                };
                format!(
                    "        rollout: {ROLLOUT}
rollouts:
  - name: {ROLLOUT}
    service: shop
    candidate: v2
    by: user
{fallback}    stages:
      - {{ weight: {first}, hold: {hold}, min_requests: {FIRST_REQUESTS} }}
      - {{ weight: {last}, hold: {last_hold} }}
    guard:                              # beside the comparison with v1, which is always on
      error_rate: {{ above: 5%, window: 10s, min_requests: 50 }}
"
                )
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // what stays behind is small and in a temporary folder
    }
}

/// Addresses that nobody listens on at this moment.
fn free_addresses() -> io::Result<[SocketAddr; 2]> {
    // Both are held until both are known, so that they differ.
    let listeners = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
