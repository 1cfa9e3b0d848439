# SPDX-License-Identifier: Apache-2.0
"""The feed on NATS JetStream; docs/feed.md says what lies where in the server.

`feed` is the face. It stands on `link` (one connection that comes back by itself), `layout` (buckets, subjects),
`records` (what a message says), `reader` and `watch` (messages in order), and keeps hostd's part in `mirror`,
`behind`, `reports` and `claim`."""
