-- SPDX-License-Identifier: Apache-2.0
-- The feed's file as the first release wrote it, frozen. Never edited; tests/daemons/test_stored_state.py opens it.
BEGIN TRANSACTION;
CREATE TABLE acks (
  vif TEXT NOT NULL,
  key TEXT NOT NULL,
  acknowledged INTEGER NOT NULL,
  answered INTEGER NOT NULL,
  outcome TEXT,
  error TEXT NOT NULL,
  PRIMARY KEY (vif, key)
);
INSERT INTO "acks" VALUES('vm1','net/config',2,2,'stored','');
INSERT INTO "acks" VALUES('vm1','gone',0,2,'stored','');
CREATE TABLE contents (id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO "contents" VALUES(2);
INSERT INTO "contents" VALUES(4);
CREATE TABLE documents (
  vif TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  size INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  position INTEGER NOT NULL UNIQUE,
  put_unix_ns INTEGER NOT NULL,
  content INTEGER,
  PRIMARY KEY (vif, key)
);
INSERT INTO "documents" VALUES('vm1','net/config',2,'text/plain',X'3FC4CCFE745870E2C0D99F71F30FF0656C8DEDD41CC1D7D3D376B0DBE685E2F3',3,0,2,1795545634782256164,2);
INSERT INTO "documents" VALUES('vm1','gone',2,'',X'',0,1,4,1795545634789766779,NULL);
INSERT INTO "documents" VALUES('vm1','waiting',1,'text/plain',X'BB31D2D05EDEA4DCF17AB2E68AB844CCCBBD5E41C69A75B8952EE95BFD4C495A',12,0,5,1795545634794601914,4);
CREATE TABLE feed (origin TEXT NOT NULL, position INTEGER NOT NULL);
INSERT INTO "feed" VALUES('a312add39a174aca826ec292fa420004',5);
CREATE TABLE pieces (
  content INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  data BLOB NOT NULL,
  UNIQUE (content, n)
);
INSERT INTO "pieces" VALUES(2,0,X'74776F');
INSERT INTO "pieces" VALUES(4,0,X'6E6F742073656E7420796574');
CREATE TABLE report_totals (vif TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO "report_totals" VALUES('vm1',1,2);
CREATE TABLE reports (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  vif TEXT NOT NULL,
  id BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  type TEXT NOT NULL,
  content_type TEXT NOT NULL,
  data BLOB NOT NULL,
  time_unix_ns INTEGER NOT NULL,
  about_key TEXT NOT NULL,
  about_revision INTEGER NOT NULL,
  stored_unix_ns INTEGER NOT NULL,
  UNIQUE (vif, id)
);
INSERT INTO "reports" VALUES(1,'vm1',X'00000000000000000000000000000000',1,'answer','text/plain',X'6F6B',1,'net/config',2,1795545634803563862);
CREATE TABLE sessions (
  vif TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_unix_ns INTEGER NOT NULL,
  address TEXT NOT NULL,
  version INTEGER NOT NULL,
  agent TEXT NOT NULL
);
CREATE INDEX documents_by_position ON documents (vif, position);
CREATE INDEX documents_live ON documents (vif) WHERE NOT deleted;
CREATE INDEX reports_by_number ON reports (vif, number);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('contents',4);
INSERT INTO "sqlite_sequence" VALUES('reports',1);
COMMIT;
PRAGMA user_version = 1;
