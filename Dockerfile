# syntax=docker/dockerfile:1
#
#   docker build -t tidegate .
#   docker run -v ./conf:/etc/tidegate:ro -p 8080:8080 tidegate
#
# Mount the folder that holds tidegate.yaml, not the file: an editor that replaces a file leaves a mount of the old one
# behind, and no edit would be seen.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Told by `tidegate --version`: the build has no .git.
ARG TIDEGATE_COMMIT
COPY . .
# The caches keep what was downloaded and compiled from one build to the next, dependencies above all.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tidegate \
    && strip --strip-debug -o /tidegate target/release/tidegate

FROM debian:bookworm-slim
COPY --from=build /tidegate /usr/local/bin/tidegate
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/tidegate/
RUN mkdir -p /etc/tidegate /var/lib/tidegate && chown 10001:10001 /var/lib/tidegate
USER 10001:10001
WORKDIR /var/lib/tidegate
EXPOSE 8080
# SIGTERM drains: stop it with more patience than runtime.drain.max, for instance docker stop -t 40.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tidegate"]
CMD ["run", "--config", "/etc/tidegate/tidegate.yaml", "--state-dir", "/var/lib/tidegate"]
