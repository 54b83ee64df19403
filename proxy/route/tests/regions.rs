//! Where the client is.

use std::sync::Arc;

use mmdb_writer::Writer;
use serde_json::json;
use tidegate_config::*;

use super::house::*;
use crate::route::{Regions, Table};

/// A small City database.
pub(crate) fn database() -> Database {
    let mut writer = Writer::new("Test-City");
    let mut insert = |network: &str, record: serde_json::Value| {
        writer
            .insert(network.parse::<ipnet::IpNet>().unwrap(), &record)
            .unwrap();
    };
    insert(
        "81.2.69.0/24",
        json!({"city": {"names": {"en": "Stockholm"}}, "continent": {"code": "EU", "names": {"en": "Europe"}},
               "country": {"iso_code": "SE", "is_in_european_union": true, "names": {"en": "Sweden"}},
               "location": {"latitude": 59.3, "longitude": 18.0}, "subdivisions": [{"iso_code": "AB"}]}),
    );
    insert(
        "216.160.83.0/24",
        json!({"continent": {"code": "NA"}, "country": {"iso_code": "US", "geoname_id": 6252001},
               "subdivisions": [{"iso_code": "CA", "names": {"en": "California"}}, {"iso_code": "XX"}]}),
    );
    insert("2a02:cf40::/29", json!({"country": {"iso_code": "NO"}}));
    insert(
        "9.9.9.0/24",
        json!({"registered_country": {"iso_code": "US"}}),
    );
    Database {
        path: "city.mmdb".into(),
        bytes: Arc::from(writer.to_bytes().unwrap()),
    }
}

pub(crate) fn by_region(places: RegionMatch, header: Option<&str>, with_database: bool) -> Table {
    let mut config = config(
        vec![],
        vec![route(
            "app",
            RouteMatch::default(),
            vec![to(1, When::Region(places))],
        )],
    );
    let database = with_database.then(database);
    let regions = database
        .as_ref()
        .map(|database| Regions::open(database).unwrap());
    config.geo = Some(Geo {
        database,
        header: header.map(Into::into),
    });
    Table::compile(&config, regions)
}

fn places(country: &[&str], subdivision: &[&str], continent: &[&str]) -> RegionMatch {
    let list = |codes: &[&str]| codes.iter().map(ToString::to_string).collect();
    RegionMatch {
        country: list(country),
        subdivision: list(subdivision),
        continent: list(continent),
    }
}

#[test]
fn a_database_knows_the_region_of_an_address() {
    let in_region = |places: RegionMatch, client: &str| {
        get("a", "/")
            .from(client)
            .choice(&by_region(places, None, true))
            .version
            == 1
    };
    for (client, country, subdivision, continent) in [
        ("81.2.69.160", "SE", "SE-AB", "EU"),
        ("::ffff:216.160.83.56", "US", "US-CA", "NA"),
    ] {
        assert!(in_region(places(&["DE", country], &[], &[]), client));
        assert!(in_region(places(&[], &[subdivision], &[]), client));
        assert!(in_region(places(&[], &[], &[continent]), client));
        assert!(in_region(
            places(&[country], &[subdivision], &[continent]),
            client
        ));
        assert!(!in_region(places(&["DE"], &[], &[continent]), client));
    }
    assert!(
        in_region(places(&["NO"], &[], &["EU"]), "2a02:cf40::1"),
        "the country tells the continent"
    );
    assert!(!in_region(places(&["NO"], &["NO-03"], &[]), "2a02:cf40::1"));
    for unknown in ["127.0.0.1", "2001:db8::1", "9.9.9.9"] {
        assert!(
            !in_region(places(&["US", "SE"], &[], &[]), unknown),
            "{unknown}"
        );
    }
}

#[test]
fn a_header_is_asked_first_where_it_is_trusted() {
    let table = by_region(places(&[], &["US-CA"], &[]), Some("x-region"), true);
    let said = |listener: usize, region: &str| {
        get("a", "/")
            .on(listener)
            .from("81.2.69.160")
            .with("x-region", region)
            .choice(&table)
            .version
            == 1
    };
    assert!(said(TRUSTING, "us-ca") && said(TRUSTING_SIDECAR, "US-CA"));
    assert!(
        !said(EDGE, "US-CA") && !said(SIDECAR, "US-CA"),
        "outsiders do not say where they are"
    );
    let american = get("a", "/").from("216.160.83.56");
    assert_eq!(
        american
            .clone()
            .with("x-region", "nonsense")
            .choice(&table)
            .version,
        1,
        "the database is asked then"
    );
    assert_eq!(american.with("x-region", "SE").choice(&table).version, 0);
}

#[test]
fn a_header_alone_tells_the_continent_too() {
    let table = by_region(places(&[], &[], &["EU"]), Some("x-region"), false);
    let said = |region: &str| {
        get("a", "/")
            .with("x-region", region)
            .choice(&table)
            .version
            == 1
    };
    assert!(said("SE") && said("DE-BE") && !said("US") && !said("ZZ"));
    assert_eq!(get("a", "/").choice(&table).version, 0);
}

#[test]
fn without_geo_nobody_is_anywhere() {
    let when = When::Region(places(&["SE"], &[], &[]));
    let table = table(&config(
        vec![],
        vec![route("app", RouteMatch::default(), vec![to(1, when)])],
    ));
    assert_eq!(
        get("a", "/")
            .from("81.2.69.160")
            .with("x-region", "SE")
            .choice(&table)
            .version,
        0
    );
}
