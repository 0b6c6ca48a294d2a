CREATE TABLE IF NOT EXISTS "meta" (
  "name" TEXT COLLATE "C" NOT NULL,
  "value" TEXT NOT NULL,
  PRIMARY KEY ("name")
);

CREATE TABLE IF NOT EXISTS "owners" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "revision" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id")
);

CREATE TABLE IF NOT EXISTS "changes" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "revision" BIGINT NOT NULL,
  "kind" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "id" TEXT COLLATE "C" NOT NULL,
  "op" TEXT COLLATE "C" NOT NULL,
  "session_id" TEXT COLLATE "C" NOT NULL,
  "run_id" TEXT COLLATE "C" NOT NULL,
  "at" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "revision")
);

CREATE TABLE IF NOT EXISTS "events" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "session_id" TEXT COLLATE "C" NOT NULL,
  "run_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "event_id" TEXT COLLATE "C" NOT NULL,
  "kind" TEXT COLLATE "C" NOT NULL,
  "ts" BIGINT NOT NULL,
  "line" TEXT NOT NULL,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" BIGINT NOT NULL,
  "created_at" BIGINT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  "recalled_at" BIGINT,
  "recall_count" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

CREATE UNIQUE INDEX IF NOT EXISTS "events_run_id" ON "events" ("tenant_id", "user_id", "agent_id", "event_id", "session_id", "run_id");

CREATE INDEX IF NOT EXISTS "events_ts" ON "events" ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "ts");

CREATE TABLE IF NOT EXISTS "facts" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "fact_id" TEXT COLLATE "C" NOT NULL,
  "version" BIGINT NOT NULL,
  "fact_key" TEXT COLLATE "C" NOT NULL,
  "status" TEXT COLLATE "C" NOT NULL,
  "valid_from" BIGINT,
  "valid_to" BIGINT,
  "replaces" BIGINT,
  "replaced_by" BIGINT,
  "past" TEXT,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" BIGINT NOT NULL,
  "created_at" BIGINT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  "recalled_at" BIGINT,
  "recall_count" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

CREATE UNIQUE INDEX IF NOT EXISTS "facts_version" ON "facts" ("tenant_id", "user_id", "agent_id", "fact_id", "version");

CREATE INDEX IF NOT EXISTS "facts_status" ON "facts" ("tenant_id", "user_id", "agent_id", "fact_key", "status");

CREATE TABLE IF NOT EXISTS "episodes" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "episode_id" TEXT COLLATE "C" NOT NULL,
  "starts" BIGINT NOT NULL,
  "ends" BIGINT,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" BIGINT NOT NULL,
  "created_at" BIGINT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  "recalled_at" BIGINT,
  "recall_count" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

CREATE UNIQUE INDEX IF NOT EXISTS "episodes_episode_id" ON "episodes" ("tenant_id", "user_id", "agent_id", "episode_id");

CREATE TABLE IF NOT EXISTS "procedures" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "procedure_id" TEXT COLLATE "C" NOT NULL,
  "task_type" TEXT COLLATE "C" NOT NULL,
  "priority" BIGINT NOT NULL,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" BIGINT NOT NULL,
  "created_at" BIGINT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  "recalled_at" BIGINT,
  "recall_count" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

CREATE UNIQUE INDEX IF NOT EXISTS "procedures_procedure_id" ON "procedures" ("tenant_id", "user_id", "agent_id", "procedure_id");

CREATE TABLE IF NOT EXISTS "insights" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "session_id" TEXT COLLATE "C" NOT NULL,
  "run_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "id" TEXT COLLATE "C" NOT NULL,
  "validation_state" TEXT COLLATE "C" NOT NULL,
  "expires" BIGINT,
  "ended" BIGINT NOT NULL,
  "digest" TEXT NOT NULL,
  "body" TEXT NOT NULL,
  "tokens" TEXT,
  "pinned" BIGINT NOT NULL,
  "created_at" BIGINT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  "recalled_at" BIGINT,
  "recall_count" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

CREATE UNIQUE INDEX IF NOT EXISTS "insights_id" ON "insights" ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "id");

CREATE TABLE IF NOT EXISTS "working_states" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "session_id" TEXT COLLATE "C" NOT NULL,
  "run_id" TEXT COLLATE "C" NOT NULL,
  "version" BIGINT NOT NULL,
  "body" TEXT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "session_id", "run_id")
);

CREATE TABLE IF NOT EXISTS "short_terms" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "session_id" TEXT COLLATE "C" NOT NULL,
  "body" TEXT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "session_id")
);

CREATE TABLE IF NOT EXISTS "builds" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "session_id" TEXT COLLATE "C" NOT NULL,
  "run_id" TEXT COLLATE "C" NOT NULL,
  "build_id" TEXT COLLATE "C" NOT NULL,
  "packet" TEXT NOT NULL,
  "explanation" TEXT NOT NULL,
  "at" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "build_id")
);

CREATE INDEX IF NOT EXISTS "builds_at" ON "builds" ("tenant_id", "user_id", "agent_id", "session_id", "run_id", "at");

CREATE TABLE IF NOT EXISTS "threads" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "space" TEXT COLLATE "C" NOT NULL,
  "thread_id" TEXT COLLATE "C" NOT NULL,
  "ns" TEXT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space")
);

CREATE INDEX IF NOT EXISTS "threads_thread_id" ON "threads" ("tenant_id", "user_id", "agent_id", "thread_id");

CREATE TABLE IF NOT EXISTS "checkpoints" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "space" TEXT COLLATE "C" NOT NULL,
  "checkpoint_id" TEXT COLLATE "C" NOT NULL,
  "parent_id" TEXT COLLATE "C",
  "run_id" TEXT COLLATE "C" NOT NULL,
  "channels" TEXT NOT NULL,
  "metadata" TEXT NOT NULL,
  "type" TEXT COLLATE "C" NOT NULL,
  "data" TEXT NOT NULL,
  "pieces" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "checkpoint_id")
);

CREATE INDEX IF NOT EXISTS "checkpoints_run_id" ON "checkpoints" ("tenant_id", "user_id", "agent_id", "run_id");

CREATE TABLE IF NOT EXISTS "channel_blobs" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "space" TEXT COLLATE "C" NOT NULL,
  "blob_id" TEXT COLLATE "C" NOT NULL,
  "type" TEXT COLLATE "C" NOT NULL,
  "data" TEXT NOT NULL,
  "pieces" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "blob_id")
);

CREATE TABLE IF NOT EXISTS "checkpoint_writes" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "space" TEXT COLLATE "C" NOT NULL,
  "checkpoint_id" TEXT COLLATE "C" NOT NULL,
  "task_id" TEXT COLLATE "C" NOT NULL,
  "idx" BIGINT NOT NULL,
  "task_path" TEXT NOT NULL,
  "channel" TEXT NOT NULL,
  "type" TEXT COLLATE "C" NOT NULL,
  "data" TEXT NOT NULL,
  "pieces" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "checkpoint_id", "task_id", "idx")
);

CREATE TABLE IF NOT EXISTS "checkpoint_pieces" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "space" TEXT COLLATE "C" NOT NULL,
  "digest" TEXT COLLATE "C" NOT NULL,
  "piece" BIGINT NOT NULL,
  "data" TEXT NOT NULL,
  "at" BIGINT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "space", "digest", "piece")
);

CREATE TABLE IF NOT EXISTS "item_places" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "place" TEXT COLLATE "C" NOT NULL,
  "path" TEXT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "place")
);

CREATE TABLE IF NOT EXISTS "items" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "place" TEXT COLLATE "C" NOT NULL,
  "item" TEXT COLLATE "C" NOT NULL,
  "item_key" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  "words" TEXT,
  "created_at" BIGINT NOT NULL,
  "updated_at" BIGINT NOT NULL,
  "ttl_ms" BIGINT,
  "expires_at" BIGINT,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

CREATE UNIQUE INDEX IF NOT EXISTS "items_item" ON "items" ("tenant_id", "user_id", "agent_id", "place", "item");

CREATE INDEX IF NOT EXISTS "items_expires_at" ON "items" ("tenant_id", "user_id", "agent_id", "expires_at");

CREATE TABLE IF NOT EXISTS "vectors" (
  "tenant_id" TEXT COLLATE "C" NOT NULL,
  "user_id" TEXT COLLATE "C" NOT NULL,
  "agent_id" TEXT COLLATE "C" NOT NULL,
  "seq" BIGINT NOT NULL,
  "model" TEXT NOT NULL,
  "digest" TEXT NOT NULL,
  "vector" TEXT NOT NULL,
  PRIMARY KEY ("tenant_id", "user_id", "agent_id", "seq")
);

