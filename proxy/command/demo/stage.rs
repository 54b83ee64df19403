//! The demo's file on disk, in a folder of its own, and its edit.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use tidegate_config::Share;

/// The salt of the split below: its route's name and its rule's.
pub(super) const SALT: &str = "shop.everyone";

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
    /// Writes the file, with this share on the second version.
    pub(super) fn build(versions: [SocketAddr; 2], share: Share) -> io::Result<Self> {
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
        stage.edit(share)?;
        Ok(stage)
    }

    /// Puts a new file in the place of the old one, in one step, as editors do.
    pub(super) fn edit(&self, share: Share) -> io::Result<()> {
        let new = self.folder.join("tidegate.yaml.new");
        fs::write(&new, self.text(share))?;
        fs::rename(&new, &self.file)
    }

    fn text(&self, share: Share) -> String {
        let rest = Share::from_parts(Share::FULL.parts() - share.parts())
            .expect("what is left of a whole is a share");
        let Self {
            address,
            admin,
            versions: [v1, v2],
            ..
        } = self;
        format!(
            "# Written by `tidegate demo`. With --stay, edit the weights and watch: an edit is in force within a second.
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
        split: {{ by: user, weights: {{ v2: {share}, v1: {rest} }} }}
"
        )
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
