//! Codes of regions.

/// ISO 3166-1 alpha-2, and XK, which region databases use for Kosovo.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR \
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT \
    JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN \
    MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN \
    TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

/// What is wrong, completing "… is", and what to do.
type Wrong = (String, String);

/// A country's code in upper case.
pub(super) fn country(code: &str) -> Result<(), Wrong> {
    if code.len() == 2
        && COUNTRIES
            .split_ascii_whitespace()
            .any(|known| known == code)
    {
        return Ok(());
    }
    let hint = match code {
        "UK" => "the United Kingdom is `GB`",
        "EL" => "Greece is `GR`",
        "EU" | "AP" => "that is no country; write `continent: [EU]` or `[AS]`",
        _ => "write two letters of ISO 3166-1, like `DE`",
    };
    Err(("no country".to_owned(), hint.to_owned()))
}

/// A subdivision's code in upper case, with its country.
pub(super) fn subdivision(code: &str) -> Result<(), Wrong> {
    let wrong = || {
        (
            "no subdivision".to_owned(),
            "write ISO 3166-2 with the country, like `US-CA`".to_owned(),
        )
    };
    let (land, part) = code.split_once('-').ok_or_else(wrong)?;
    country(land)?;
    if (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(wrong())
    }
}

/// A continent's code in upper case.
pub(super) fn continent(code: &str) -> Result<(), Wrong> {
    if CONTINENTS.contains(&code) {
        return Ok(());
    }
    Err((
        "no continent".to_owned(),
        format!("write one of {}", CONTINENTS.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_country_once_in_order() {
        let codes: Vec<&str> = COUNTRIES.split_ascii_whitespace().collect();
        assert_eq!(codes.len(), 250, "249 of ISO 3166-1 and XK");
        assert!(
            codes.windows(2).all(|pair| pair[0] < pair[1]),
            "sorted, none twice"
        );
    }
}
