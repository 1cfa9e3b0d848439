-- SPDX-License-Identifier: Apache-2.0
-- The guest's file as the first release wrote it, frozen. Never edited; tests/daemons/test_stored_state.py opens it.
BEGIN TRANSACTION;
CREATE TABLE contents (id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO "contents" VALUES(1);
INSERT INTO "contents" VALUES(2);
CREATE TABLE documents (
  key TEXT PRIMARY KEY,
  origin TEXT NOT NULL,
  revision INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  position INTEGER NOT NULL UNIQUE,
  stored_unix_ns INTEGER NOT NULL,
  content INTEGER
);
INSERT INTO "documents" VALUES('net/config','a312add39a174aca826ec292fa420004',2,'text/plain',X'3FC4CCFE745870E2C0D99F71F30FF0656C8DEDD41CC1D7D3D376B0DBE685E2F3',3,0,1,1795545634866124432,1);
INSERT INTO "documents" VALUES('net/other','a312add39a174aca826ec292fa420004',7,'text/plain',X'3BA8D02B16FD2A01C1A8BA1A1F036D7CE386ED953696FA57331C2AC48A80B255',5,0,2,1795545634866245201,2);
CREATE TABLE identity (
  vif TEXT NOT NULL,
  origin TEXT NOT NULL,
  binding INTEGER NOT NULL,
  position INTEGER NOT NULL
);
INSERT INTO "identity" VALUES('vm1','a312add39a174aca826ec292fa420004',1,2);
CREATE TABLE pieces (
  content INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (content, n)
);
INSERT INTO "pieces" VALUES(1,0,X'74776F');
INSERT INTO "pieces" VALUES(2,0,X'736576656E');
CREATE TABLE reports (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  type TEXT NOT NULL,
  content_type TEXT NOT NULL,
  data BLOB NOT NULL,
  time_unix_ns INTEGER NOT NULL,
  about_key TEXT NOT NULL,
  about_revision INTEGER NOT NULL
);
INSERT INTO "reports" VALUES(1,X'02C6B72B90CE4EB5BC3A07778DB3AD28','answer','text/plain',X'717565756564',1795545634899236272,'net/config',2);
CREATE INDEX documents_live ON documents (key) WHERE NOT deleted;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('contents',2);
INSERT INTO "sqlite_sequence" VALUES('reports',1);
COMMIT;
PRAGMA user_version = 1;
