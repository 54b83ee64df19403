//! The one job, in each contender's own words.
//!
//! Keep connections to both sides alive, send nine users of ten to v1 and one to v2 by a hash of `X-User-Id`, add
//! `X-Forwarded-For`, write no access log, use one thread.

use std::net::SocketAddr;
use std::path::Path;

/// Ours.
pub(crate) fn tidegate_yaml(
    [address, secure]: [SocketAddr; 2],
    admin: SocketAddr,
    [v1, v2]: [SocketAddr; 2],
) -> String {
    format!(
        r#"version: 1
runtime: {{ workers: 1, drain: {{ min: 0s, max: 1s }} }}
listeners:
  - name: in
    address: {address}
    trusted_headers: [x-user-id]
  - name: secure
    address: {secure}
    tls: {{ certificates: [{{ cert: ./tls.crt, key: ./tls.key }}] }}
    trusted_headers: [x-user-id]
admin: {{ address: {admin} }}
identity: {{ user: [{{ header: x-user-id }}, {{ client_address: true }}] }}
services:
  - name: app
    stable: v1
    pool: {{ connect: 5s }}
    versions:
      - {{ name: v1, endpoints: ["{v1}"] }}
      - {{ name: v2, endpoints: ["{v2}"] }}
routes:
  - name: app
    service: app
    rules:
      - name: everyone
        split: {{ by: user, weights: {{ v2: 10%, v1: 90% }} }}
"#
    )
}

/// nginx under attack: the bounds that are Tidegate's defaults, as far as it knows them, and files enough.
pub(crate) fn besieged_nginx_conf(conf: String) -> String {
    const BOUNDS: &str = "access_log off;
  client_header_timeout 10s; client_body_timeout 30s; send_timeout 30s;
  large_client_header_buffers 4 8k; http2_max_concurrent_streams 100; client_max_body_size 0;
  reset_timedout_connection on;";
    conf.replacen("worker_connections 8192", "worker_connections 19000", 1)
        .replacen("keepalive_timeout 300s", "keepalive_timeout 60s", 1)
        .replacen("access_log off;", BOUNDS, 1)
}

/// nginx: `split_clients` hashes the user, two upstreams keep connections.
pub(crate) fn nginx_conf(
    [address, h2c, secure]: [SocketAddr; 3],
    [v1, v2]: [SocketAddr; 2],
    folder: &Path,
) -> String {
    let folder = folder.display();
    // Only root may be told whom the worker runs as; it stays who it is, to reach its temporary folder.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        r#"{user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error warn;
events {{ worker_connections 8192; use epoll; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; sendfile on; tcp_nodelay on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_body_buffer_size 64k; proxy_buffer_size 8k; proxy_buffers 16 32k; proxy_busy_buffers_size 64k;
  proxy_max_temp_file_size 0;
  split_clients "$http_x_user_id" $version {{ 90% v1; * v2; }}
  upstream v1 {{ server {v1} max_fails=0; keepalive 256; keepalive_requests 1000000000; }}
  upstream v2 {{ server {v2} max_fails=0; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {address} backlog=4096; listen {h2c} http2 backlog=4096;
    listen {secure} ssl http2 backlog=4096; ssl_certificate {folder}/tls.crt; ssl_certificate_key {folder}/tls.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://$version; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"#
    )
}

/// HAProxy: one backend, its servers weighted and found by a hash of the user.
pub(crate) fn haproxy_cfg(
    [address, h2c, secure]: [SocketAddr; 3],
    [v1, v2]: [SocketAddr; 2],
    folder: &Path,
) -> String {
    let folder = folder.display();
    format!(
        "global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  option http-keep-alive
  http-reuse always
  option forwardfor
frontend in
  bind {address} backlog 4096
  bind {h2c} proto h2
  bind {secure} backlog 4096 ssl crt {folder}/tls.pem alpn h2,http/1.1
  default_backend app
backend app
  balance hdr(X-User-Id)
  hash-type map-based djb2 avalanche
  server v1 {v1} weight 90 pool-max-conn 512
  server v2 {v2} weight 10 pool-max-conn 512
"
    )
}

/// Envoy: weighted clusters, picked by a hash of the user.
pub(crate) fn envoy_json(
    [address, secure]: [SocketAddr; 2],
    origins: [SocketAddr; 2],
    folder: &Path,
) -> String {
    let types = "type.googleapis.com/envoy.extensions";
    let socket = |of: SocketAddr| serde_json::json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } });
    let cluster = |name: &str, of: SocketAddr| {
        serde_json::json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(of) } }] }],
            },
        })
    };
    let route = serde_json::json!({
        "match": { "prefix": "/" },
        "route": {
            "hash_policy": [{ "header": { "header_name": "x-user-id" } }],
            "weighted_clusters": {
                "use_hash_policy": true,
                "clusters": [{ "name": "v1", "weight": 90 }, { "name": "v2", "weight": 10 }],
            },
        },
    });
    let connections = serde_json::json!({
        "@type": format!("{types}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "generate_request_id": false,
        "route_config": { "virtual_hosts": [{ "name": "app", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": format!("{types}.filters.http.router.v3.Router") },
        }],
    });
    let filter = serde_json::json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connections,
    });
    let file =
        |name: &str| serde_json::json!({ "filename": folder.join(name).display().to_string() });
    let encryption = serde_json::json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": format!("{types}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": { "tls_maximum_protocol_version": "TLSv1_3" },
                "tls_certificates": [{ "certificate_chain": file("tls.crt"), "private_key": file("tls.key") }],
            },
        },
    });
    serde_json::json!({
        "static_resources": {
            "listeners": [{
                "name": "in",
                "address": socket(address),
                "filter_chains": [{ "filters": [filter] }],
            }, {
                "name": "secure",
                "address": socket(secure),
                "filter_chains": [{ "filters": [filter], "transport_socket": encryption }],
            }],
            "clusters": [cluster("v1", origins[0]), cluster("v2", origins[1])],
        },
    })
    .to_string()
}
