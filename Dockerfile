# syntax=docker/dockerfile:1
#
#   docker build -t tidegate .
#   docker run -v ./tidegate.yaml:/etc/tidegate/tidegate.yaml:ro -p 8080:8080 tidegate
#
# Mount the folder rather than the file where edits are to be taken without a restart: an editor that replaces a file
# leaves a mount of that one file behind.

FROM rust:1.95-bookworm AS build
WORKDIR /src

# Dependencies first, against empty crates: this layer is kept until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY config/Cargo.toml config/
RUN mkdir -p proxy tests benches/end_to_end \
    && touch config/lib.rs proxy/lib.rs tests/main.rs benches/route.rs benches/slot.rs benches/tally.rs benches/end_to_end/main.rs \
    && echo 'fn main() {}' > proxy/main.rs \
    && cargo build --release --locked --bin tidegate

COPY config config
COPY proxy proxy
# Newer than the empty ones, whatever their times say.
RUN touch config/lib.rs proxy/lib.rs proxy/main.rs \
    && cargo build --release --locked --bin tidegate \
    && strip --strip-debug target/release/tidegate

FROM debian:bookworm-slim
COPY --from=build /src/target/release/tidegate /usr/local/bin/tidegate
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/tidegate/
# Mounts take the owner of what they cover: a volume over this folder can be written by tidegate.
RUN mkdir -p /etc/tidegate /var/lib/tidegate && chown 10001:10001 /var/lib/tidegate
USER 10001:10001
WORKDIR /var/lib/tidegate
EXPOSE 8080
# SIGTERM drains: give it more than runtime.drain.max, as in docker stop -t 40.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tidegate"]
CMD ["run", "--config", "/etc/tidegate/tidegate.yaml", "--state-dir", "/var/lib/tidegate"]
