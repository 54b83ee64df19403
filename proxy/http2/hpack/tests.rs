use super::table::OVERHEAD;
use super::*;
use crate::http2::field::{Field, Scheme};

/// More than any block here unpacks to.
const MOST: usize = 64 * 1024;

/// Writes down what it is given.
#[derive(Default)]
struct Notes {
    fields: Vec<String>,
    bytes: usize,
    most: Option<usize>,
}

impl Sink for Notes {
    fn wants(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.most.is_none_or(|most| self.bytes <= most)
    }

    fn take(&mut self, field: Field) {
        self.fields.push(match field {
            Field::Method(method) => format!(":method: {method}"),
            Field::Scheme(Scheme::Http) => ":scheme: http".to_owned(),
            Field::Scheme(Scheme::Https) => ":scheme: https".to_owned(),
            Field::Path(path) => format!(":path: {path}"),
            Field::Authority(value) => format!(":authority: {}", value.to_str().expect("text")),
            Field::Line(name, value) => format!("{name}: {}", value.to_str().expect("text")),
            Field::Malformed => "malformed".to_owned(),
        });
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
    };
    digits.chunks(2).map(pair).collect()
}

fn read(decoder: &mut Decoder, hex: &str) -> Result<Vec<String>, DecodeError> {
    let mut notes = Notes::default();
    decoder.decode(&bytes(hex), MOST, &mut notes)?;
    Ok(notes.fields)
}

const FIRST: [&str; 4] = [
    ":method: GET",
    ":scheme: http",
    ":path: /",
    ":authority: www.example.com",
];
const THIRD: [&str; 5] = [
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
];

#[test]
fn the_requests_of_the_rfc() {
    // C.3, and C.4 with the Huffman code.
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        assert_eq!(
            read(&mut decoder, blocks[0]),
            Ok(FIRST.map(String::from).to_vec())
        );
        assert_eq!(decoder.table_size(), 57);
        let second: Vec<String> = FIRST
            .iter()
            .chain(&["cache-control: no-cache"])
            .map(|f| (*f).to_owned())
            .collect();
        assert_eq!(read(&mut decoder, blocks[1]), Ok(second));
        assert_eq!(decoder.table_size(), 110);
        assert_eq!(
            read(&mut decoder, blocks[2]),
            Ok(THIRD.map(String::from).to_vec())
        );
        assert_eq!(decoder.table_size(), 164);
    }
}

#[test]
fn the_oldest_make_room_as_in_the_answers_of_the_rfc() {
    // C.5, after a change to 256 bytes. `:status` is no field of a request, and counts all the same.
    let mut decoder = Decoder::default();
    let blocks = [
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let second = [
        "malformed",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ];
    let third = [
        "malformed",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ];
    assert_eq!(
        read(&mut decoder, blocks[0]),
        Ok(second.map(String::from).to_vec())
    );
    assert_eq!(decoder.table_size(), 222);
    assert_eq!(
        read(&mut decoder, blocks[1]),
        Ok(second.map(String::from).to_vec())
    );
    assert_eq!(decoder.table_size(), 222);
    assert_eq!(
        read(&mut decoder, blocks[2]),
        Ok(third.map(String::from).to_vec())
    );
    assert_eq!(decoder.table_size(), 215);
}

#[test]
fn what_is_corrupt_is_told() {
    for hex in [
        "80",                     // index 0
        "be",                     // nothing was put into the table
        "ff80 8080 8080 01",      // a number without end
        "4001",                   // no name
        "4001 6105 6162",         // a value that is cut off
        "82 20",                  // a change behind a field
        "3fe2 1f",                // 4097: more than we agreed to
        "0085 ffff ffff ff01 61", // EOS in a name
    ] {
        assert_eq!(
            read(&mut Decoder::default(), hex),
            Err(Corrupt.into()),
            "{hex}"
        );
    }
    assert!(
        read(&mut Decoder::default(), "20 3fe1 1f 82").is_ok(),
        "4096"
    );
}

#[test]
fn what_is_not_wanted_is_still_in_the_table() {
    let mut decoder = Decoder::default();
    let mut notes = Notes {
        most: Some(0),
        ..Notes::default()
    };
    decoder
        .decode(
            &bytes("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d"),
            MOST,
            &mut notes,
        )
        .expect("a block");
    assert_eq!(notes.fields, [""; 0]);
    assert_eq!(read(&mut decoder, "be"), Ok(vec![FIRST[3].to_owned()]));
}

#[test]
fn ds_09_a_reference_costs_nothing_once_nothing_more_is_wanted() {
    let mut decoder = Decoder::default();
    let mut block = vec![0x40, 0x01, b'x'];
    integer::encode(&mut block, 0, 7, 4000);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 16_000]);
    let mut notes = Notes {
        most: Some(32 * 1024),
        ..Notes::default()
    };
    decoder
        .decode(&block, usize::MAX, &mut notes)
        .expect("a block");
    assert_eq!(notes.fields.len(), 32 * 1024 / (4001 + OVERHEAD));
}

#[test]
fn ds_09_a_block_that_unpacks_to_more_than_anybody_asks_for_is_not_read_on() {
    struct Asked(usize);
    impl Sink for Asked {
        fn wants(&mut self, _: usize) -> bool {
            self.0 += 1;
            false
        }
        fn take(&mut self, _: Field) {}
    }
    let mut block = vec![0x40, 0x01, b'x', 0x05];
    block.extend(*b"hello");
    block.extend([0xbe; 16_000]);
    let each = "xhello".len() + OVERHEAD;
    let mut asked = Asked(0);
    let read = |most, asked: &mut Asked| Decoder::default().decode(&block, most, asked);
    assert_eq!(read(100 * each, &mut asked), Err(DecodeError::TooMuch));
    assert_eq!(asked.0, 101);
    assert_eq!(read(16_001 * each, &mut asked), Ok(()));
}

#[test]
fn what_must_not_be_put_into_a_table_stays_so() {
    struct Last(Option<Field>);
    impl Sink for Last {
        fn wants(&mut self, _: usize) -> bool {
            true
        }
        fn take(&mut self, field: Field) {
            self.0 = Some(field);
        }
    }
    let mut last = Last(None);
    let mut decoder = Decoder::default();
    decoder
        .decode(
            &bytes("1008 7061 7373 776f 7264 0673 6563 7265 74"),
            MOST,
            &mut last,
        )
        .expect("a block");
    let Some(Field::Line(_, value)) = last.0 else {
        panic!("a field");
    };
    assert!(value.is_sensitive());
    assert_eq!(decoder.table_size(), 0);
}
