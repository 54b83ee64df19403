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
    && mkdir -p /image/usr/local/bin /image/usr/share/doc/tidegate /image/etc/tidegate /image/tmp /state \
    && strip --strip-debug -o /image/usr/local/bin/tidegate target/release/tidegate
# The image holds the binary and the C library that it was linked with, and nothing to break into: no shell, no packages.
RUN for library in $(ldd /image/usr/local/bin/tidegate | grep -o '/[^ )]*'); do cp -L --parents "$library" /image; done \
    && cp LICENSE-MIT LICENSE-APACHE /image/usr/share/doc/tidegate/ \
    && chmod 1777 /image/tmp \
    && echo 'tidegate:x:10001:10001::/var/lib/tidegate:/sbin/nologin' > /image/etc/passwd \
    && echo 'tidegate:x:10001:' > /image/etc/group

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=10001:10001 /state /var/lib/tidegate
USER 10001:10001
WORKDIR /var/lib/tidegate
EXPOSE 8080
# SIGTERM drains: stop it with more patience than runtime.drain.max, for instance docker stop -t 40.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tidegate"]
CMD ["run", "--config", "/etc/tidegate/tidegate.yaml", "--state-dir", "/var/lib/tidegate"]
