//! Which continent a country is on, for a client whose country a header names. A database says it itself.

/// ISO 3166-1 alpha-2 codes by continent, as MaxMind sorts them; `XK` is Kosovo.
const COUNTRIES: [([u8; 2], &str); 7] = [
    (
        *b"AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA \
         NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    (*b"AN", "AQ BV GS HM TF"),
    (
        *b"AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP \
         OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        *b"EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME \
         MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        *b"NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC \
         TT US VC VG VI",
    ),
    (
        *b"OC",
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    (*b"SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// For each pair of letters one more than the index into `COUNTRIES`, or 0.
static BY_CODE: [u8; 26 * 26] = by_code();

const fn by_code() -> [u8; 26 * 26] {
    let mut table = [0; 26 * 26];
    let mut continent = 0;
    while continent < COUNTRIES.len() {
        let codes = COUNTRIES[continent].1.as_bytes();
        let mut at = 0;
        while at < codes.len() {
            table[place(codes[at], codes[at + 1])] = continent as u8 + 1;
            at += 3;
        }
        continent += 1;
    }
    table
}

const fn place(first: u8, second: u8) -> usize {
    (first - b'A') as usize * 26 + (second - b'A') as usize
}

/// The continent's two letters; `None` for a code that is no country's. Upper case only.
pub(super) fn of(country: [u8; 2]) -> Option<[u8; 2]> {
    if !country.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    let number = BY_CODE[place(country[0], country[1])].checked_sub(1)?;
    Some(COUNTRIES[usize::from(number)].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_is_on_one_continent() {
        let all: Vec<&str> = COUNTRIES
            .iter()
            .flat_map(|(_, codes)| codes.split_whitespace())
            .collect();
        // 249 officially assigned codes and Kosovo.
        assert_eq!(all.len(), 250);
        assert_eq!(
            BY_CODE.iter().filter(|n| **n > 0).count(),
            250,
            "a code stands in two continents"
        );
        for (continent, codes) in COUNTRIES {
            for code in codes.split_whitespace() {
                assert_eq!(
                    of(code.as_bytes().try_into().unwrap()),
                    Some(continent),
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_country_is_on_none() {
        for code in [*b"ZZ", *b"se", *b"1A", [0xff, 0]] {
            assert_eq!(of(code), None);
        }
    }
}
