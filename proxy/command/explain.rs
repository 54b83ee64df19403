//! `tidegate explain`: where would this request go, and why? Offline, from the file alone.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_config as config;

use super::Exit;
use super::output::{self, Format};
use crate::control::compile::compile;
use crate::control::machine::open_regions;
use crate::control::question::{self, Question};
use crate::record::Ledger;
use crate::route::Explanation;
use crate::snapshot::InForce;

/// The arguments of `tidegate explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tidegate explain --config tidegate.yaml http://shop.example.com/cart
  tidegate explain --config tidegate.yaml --header 'x-user-id: alice' /cart
  tidegate explain --config tidegate.yaml --client 203.0.113.7 --listener edge --format json /

Headers count as an outsider's: what the listener strips is stripped here too, unless --trusted.
Exit: 0 with an answer, 1 where the file or the question is wrong, 2 where the file cannot be read.")]
pub struct Explain {
    /// The file.
    #[arg(long, value_name = "FILE", default_value = "tidegate.yaml")]
    config: PathBuf,
    /// The request's method.
    #[arg(long, value_name = "M", default_value = "GET")]
    method: String,
    /// A request header; may be given more than once.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The client's address [default: 127.0.0.1].
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// The listener that the request comes in by [default: the first of the file].
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// A part of the certificate that the caller showed: dns=, uri=, email=, ip=, subject= or fingerprint=; may be given
    /// more than once.
    #[arg(long, value_name = "PART=VALUE")]
    client_certificate: Vec<String>,
    /// Believe the headers although the listener would not.
    #[arg(long)]
    trusted: bool,
    /// How the answer looks.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// A URL, or a path alone.
    #[arg(value_name = "URL")]
    url: String,
}

impl Explain {
    /// Answers from the file.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut loaded = match config::load(&self.config) {
            Ok(loaded) => loaded,
            Err(error) => {
                output::complain(format_args!(
                    "{}: cannot be read: {error}",
                    self.config.display()
                ));
                return Ok(Exit::CANNOT);
            }
        };
        let Some(config) = loaded.config.take() else {
            return Ok(wrong_file(&loaded.problems));
        };
        let regions = match open_regions(&config, &self.config) {
            Ok(regions) => regions,
            Err(problem) => return Ok(wrong_file(&[loaded.place(*problem)])),
        };
        // Nothing is counted: the ledger has no workers.
        let ledger = Ledger::new(0);
        let snapshot = compile(Arc::new(config), regions, 1, None, &ledger);
        // No running proxy is asked, so a rollout stands where the file alone would put it.
        let written = snapshot.config.rollouts.iter();
        let written: Vec<_> = written.map(|r| InForce::written(r, &ledger)).collect();
        let snapshot = snapshot.with_rollouts(written);
        let question = Question {
            method: Some(self.method),
            url: self.url,
            headers: self.headers,
            client: self.client,
            listener: self.listener,
            client_certificate: self.client_certificate,
            trusted: self.trusted,
        };
        let explanation = match question::answer(&snapshot, &question) {
            Ok(explanation) => explanation,
            Err(error) => {
                output::complain(error);
                return Ok(Exit::NO);
            }
        };
        output::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&explanation)? + "\n",
            Format::Text => told(&explanation, output::colours(&io::stdout())),
        })?;
        Ok(Exit::FINE)
    }
}

/// The decision in one line, then why.
fn told(explanation: &Explanation, colour: bool) -> String {
    let Explanation {
        route,
        rule,
        service,
        version,
        why,
        ..
    } = explanation;
    let decision = match (route, service, version) {
        (None, ..) => "404: no route is for this request".to_owned(),
        (Some(route), Some(service), Some(version)) => {
            let rule = rule
                .as_ref()
                .map_or("no rule".to_owned(), |rule| format!("rule \"{rule}\""));
            format!("{service} {version} (route \"{route}\", {rule})")
        }
        (Some(route), ..) => format!("answered here (route \"{route}\")"),
    };
    let mut text = if colour {
        format!("\x1b[1m{decision}\x1b[0m\n")
    } else {
        format!("{decision}\n")
    };
    for step in why {
        text.push_str("  ");
        text.push_str(step);
        text.push('\n');
    }
    text
}

fn wrong_file(problems: &[config::Problem]) -> Exit {
    output::complain_at_length(&output::rendered(problems, output::colours(&io::stderr())));
    Exit::NO
}

fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
