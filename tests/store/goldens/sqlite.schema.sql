CREATE TABLE IF NOT EXISTS "meta" (
  "name" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  PRIMARY KEY ("name")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "owners" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "revision" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "changes" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "revision" INTEGER NOT NULL,
  "kind" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "id" TEXT NOT NULL,
  "op" TEXT NOT NULL,
  "session_id" TEXT NOT NULL,
  "run_id" TEXT NOT NULL,
  "at" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "revision")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "events" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "session_id" TEXT NOT NULL,
  "run_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "event_id" TEXT NOT NULL,
  "kind" TEXT NOT NULL,
  "ts" INTEGER NOT NULL,
  "line" TEXT NOT NULL,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" INTEGER NOT NULL,
  "created_at" INTEGER NOT NULL,
  "updated_at" INTEGER NOT NULL,
  "recalled_at" INTEGER,
  "recall_count" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS "events_run_id" ON "events" ("tenant_id", "user_id", "agent_id", "event_id", "session_id", "run_id");

CREATE INDEX IF NOT EXISTS "events_ts" ON "events" ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "ts");

CREATE TABLE IF NOT EXISTS "facts" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "fact_id" TEXT NOT NULL,
  "version" INTEGER NOT NULL,
  "fact_key" TEXT NOT NULL,
  "status" TEXT NOT NULL,
  "valid_from" INTEGER,
  "valid_to" INTEGER,
  "replaces" INTEGER,
  "replaced_by" INTEGER,
  "past" TEXT,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" INTEGER NOT NULL,
  "created_at" INTEGER NOT NULL,
  "updated_at" INTEGER NOT NULL,
  "recalled_at" INTEGER,
  "recall_count" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS "facts_version" ON "facts" ("tenant_id", "user_id", "agent_id", "fact_id", "version");

CREATE INDEX IF NOT EXISTS "facts_status" ON "facts" ("tenant_id", "user_id", "agent_id", "fact_key", "status");

CREATE TABLE IF NOT EXISTS "episodes" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "episode_id" TEXT NOT NULL,
  "starts" INTEGER NOT NULL,
  "ends" INTEGER,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" INTEGER NOT NULL,
  "created_at" INTEGER NOT NULL,
  "updated_at" INTEGER NOT NULL,
  "recalled_at" INTEGER,
  "recall_count" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS "episodes_episode_id" ON "episodes" ("tenant_id", "user_id", "agent_id", "episode_id");

CREATE TABLE IF NOT EXISTS "procedures" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "procedure_id" TEXT NOT NULL,
  "task_type" TEXT NOT NULL,
  "priority" INTEGER NOT NULL,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" INTEGER NOT NULL,
  "created_at" INTEGER NOT NULL,
  "updated_at" INTEGER NOT NULL,
  "recalled_at" INTEGER,
  "recall_count" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS "procedures_procedure_id" ON "procedures" ("tenant_id", "user_id", "agent_id", "procedure_id");

CREATE TABLE IF NOT EXISTS "insights" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "session_id" TEXT NOT NULL,
  "run_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "id" TEXT NOT NULL,
  "validation_state" TEXT NOT NULL,
  "expires" INTEGER,
  "ended" INTEGER NOT NULL,
  "digest" TEXT NOT NULL,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" INTEGER NOT NULL,
  "created_at" INTEGER NOT NULL,
  "updated_at" INTEGER NOT NULL,
  "recalled_at" INTEGER,
  "recall_count" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS "insights_id" ON "insights" ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "id");

CREATE TABLE IF NOT EXISTS "working_states" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "session_id" TEXT NOT NULL,
  "run_id" TEXT NOT NULL,
  "version" INTEGER NOT NULL,
  "body" TEXT NOT NULL,
  "updated_at" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "session_id", "run_id")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "short_terms" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "session_id" TEXT NOT NULL,
  "body" TEXT NOT NULL,
  "updated_at" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "session_id")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "builds" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "session_id" TEXT NOT NULL,
  "run_id" TEXT NOT NULL,
  "build_id" TEXT NOT NULL,
  "packet" TEXT NOT NULL,
  "explanation" TEXT NOT NULL,
  "at" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "build_id")
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS "builds_at" ON "builds" ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "at");

CREATE TABLE IF NOT EXISTS "threads" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "space" TEXT NOT NULL,
  "thread_id" TEXT NOT NULL,
  "ns" TEXT NOT NULL,
  "updated_at" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space")
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS "threads_thread_id" ON "threads" ("tenant_id", "user_id", "agent_id", "thread_id");

CREATE TABLE IF NOT EXISTS "checkpoints" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "space" TEXT NOT NULL,
  "checkpoint_id" TEXT NOT NULL,
  "parent_id" TEXT,
  "run_id" TEXT NOT NULL,
  "channels" TEXT NOT NULL,
  "metadata" TEXT NOT NULL,
  "type" TEXT NOT NULL,
  "data" TEXT NOT NULL,
  "pieces" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "checkpoint_id")
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS "checkpoints_run_id" ON "checkpoints" ("tenant_id", "user_id", "agent_id", "run_id");

CREATE TABLE IF NOT EXISTS "channel_blobs" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "space" TEXT NOT NULL,
  "blob_id" TEXT NOT NULL,
  "type" TEXT NOT NULL,
  "data" TEXT NOT NULL,
  "pieces" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "blob_id")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "checkpoint_writes" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "space" TEXT NOT NULL,
  "checkpoint_id" TEXT NOT NULL,
  "task_id" TEXT NOT NULL,
  "idx" INTEGER NOT NULL,
  "task_path" TEXT NOT NULL,
  "channel" TEXT NOT NULL,
  "type" TEXT NOT NULL,
  "data" TEXT NOT NULL,
  "pieces" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "checkpoint_id", "task_id", "idx")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "checkpoint_pieces" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "space" TEXT NOT NULL,
  "digest" TEXT NOT NULL,
  "piece" INTEGER NOT NULL,
  "data" TEXT NOT NULL,
  "at" INTEGER NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "digest", "piece")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "item_places" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "place" TEXT NOT NULL,
  "path" TEXT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "place")
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS "items" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "place" TEXT NOT NULL,
  "item" TEXT NOT NULL,
  "item_key" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  "words" TEXT,
  "created_at" INTEGER NOT NULL,
  "updated_at" INTEGER NOT NULL,
  "ttl_ms" INTEGER,
  "expires_at" INTEGER,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

CREATE UNIQUE INDEX IF NOT EXISTS "items_item" ON "items" ("tenant_id", "user_id", "agent_id", "place", "item");

CREATE INDEX IF NOT EXISTS "items_expires_at" ON "items" ("tenant_id", "user_id", "agent_id", "expires_at");

CREATE TABLE IF NOT EXISTS "vectors" (
  "tenant_id" TEXT NOT NULL,
  "user_id" TEXT NOT NULL,
  "agent_id" TEXT NOT NULL,
  "seq" INTEGER NOT NULL,
  "model" TEXT NOT NULL,
  "digest" TEXT NOT NULL,
  "vector" TEXT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
) WITHOUT ROWID;

