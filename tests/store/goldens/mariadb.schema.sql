CREATE TABLE IF NOT EXISTS `meta` (
  `name` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `value` LONGTEXT NOT NULL,
  PRIMARY KEY (`name`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `owners` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `revision` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `changes` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `revision` BIGINT NOT NULL,
  `kind` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `op` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `session_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `run_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `at` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `revision`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `events` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `session_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `run_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `event_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `kind` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `ts` BIGINT NOT NULL,
  `line` LONGTEXT NOT NULL,
  `body` LONGTEXT NOT NULL,
  `tokens` LONGTEXT,
  `pinned` BIGINT NOT NULL,
  `created_at` BIGINT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  `recalled_at` BIGINT,
  `recall_count` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`),
  UNIQUE KEY `events_run_id` (`tenant_id`, `user_id`, `agent_id`, `event_id`, `session_id`, `run_id`),
  KEY `events_ts` (`tenant_id`, `user_id`, `agent_id`, `session_id`, `run_id`, `ts`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `facts` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `fact_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `version` BIGINT NOT NULL,
  `fact_key` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `status` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `valid_from` BIGINT,
  `valid_to` BIGINT,
  `replaces` BIGINT,
  `replaced_by` BIGINT,
  `past` LONGTEXT,
  `body` LONGTEXT NOT NULL,
  `tokens` LONGTEXT,
  `pinned` BIGINT NOT NULL,
  `created_at` BIGINT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  `recalled_at` BIGINT,
  `recall_count` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`),
  UNIQUE KEY `facts_version` (`tenant_id`, `user_id`, `agent_id`, `fact_id`, `version`),
  KEY `facts_status` (`tenant_id`, `user_id`, `agent_id`, `fact_key`, `status`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `episodes` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `episode_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `starts` BIGINT NOT NULL,
  `ends` BIGINT,
  `body` LONGTEXT NOT NULL,
  `tokens` LONGTEXT,
  `pinned` BIGINT NOT NULL,
  `created_at` BIGINT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  `recalled_at` BIGINT,
  `recall_count` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`),
  UNIQUE KEY `episodes_episode_id` (`tenant_id`, `user_id`, `agent_id`, `episode_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `procedures` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `procedure_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `task_type` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `priority` BIGINT NOT NULL,
  `body` LONGTEXT NOT NULL,
  `tokens` LONGTEXT,
  `pinned` BIGINT NOT NULL,
  `created_at` BIGINT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  `recalled_at` BIGINT,
  `recall_count` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`),
  UNIQUE KEY `procedures_procedure_id` (`tenant_id`, `user_id`, `agent_id`, `procedure_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `insights` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `session_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `run_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `validation_state` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `expires` BIGINT,
  `ended` BIGINT NOT NULL,
  `digest` LONGTEXT NOT NULL,
  `body` LONGTEXT NOT NULL,
  `tokens` LONGTEXT,
  `pinned` BIGINT NOT NULL,
  `created_at` BIGINT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  `recalled_at` BIGINT,
  `recall_count` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`),
  UNIQUE KEY `insights_id` (`tenant_id`, `user_id`, `agent_id`, `session_id`, `run_id`, `id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `working_states` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `session_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `run_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `version` BIGINT NOT NULL,
  `body` LONGTEXT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `session_id`, `run_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `short_terms` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `session_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `body` LONGTEXT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `session_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `builds` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `session_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `run_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `build_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `packet` LONGTEXT NOT NULL,
  `explanation` LONGTEXT NOT NULL,
  `at` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `session_id`, `run_id`, `build_id`),
  KEY `builds_at` (`tenant_id`, `user_id`, `agent_id`, `session_id`, `run_id`, `at`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `threads` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `space` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `thread_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `ns` LONGTEXT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `space`),
  KEY `threads_thread_id` (`tenant_id`, `user_id`, `agent_id`, `thread_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `checkpoints` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `space` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `checkpoint_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `parent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin,
  `run_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `channels` LONGTEXT NOT NULL,
  `metadata` LONGTEXT NOT NULL,
  `type` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `data` LONGTEXT NOT NULL,
  `pieces` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `space`, `checkpoint_id`),
  KEY `checkpoints_run_id` (`tenant_id`, `user_id`, `agent_id`, `run_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `channel_blobs` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `space` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `blob_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `type` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `data` LONGTEXT NOT NULL,
  `pieces` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `space`, `blob_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `checkpoint_writes` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `space` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `checkpoint_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `task_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `idx` BIGINT NOT NULL,
  `task_path` LONGTEXT NOT NULL,
  `channel` LONGTEXT NOT NULL,
  `type` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `data` LONGTEXT NOT NULL,
  `pieces` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `space`, `checkpoint_id`, `task_id`, `idx`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `checkpoint_pieces` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `space` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `digest` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `piece` BIGINT NOT NULL,
  `data` LONGTEXT NOT NULL,
  `at` BIGINT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `space`, `digest`, `piece`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `item_places` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `place` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `path` LONGTEXT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `place`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `items` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `place` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `item` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `item_key` LONGTEXT NOT NULL,
  `value` LONGTEXT NOT NULL,
  `words` LONGTEXT,
  `created_at` BIGINT NOT NULL,
  `updated_at` BIGINT NOT NULL,
  `ttl_ms` BIGINT,
  `expires_at` BIGINT,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`),
  UNIQUE KEY `items_item` (`tenant_id`, `user_id`, `agent_id`, `place`, `item`),
  KEY `items_expires_at` (`tenant_id`, `user_id`, `agent_id`, `expires_at`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `vectors` (
  `tenant_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `user_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `agent_id` VARCHAR(110) COLLATE utf8mb4_nopad_bin NOT NULL,
  `seq` BIGINT NOT NULL,
  `model` LONGTEXT NOT NULL,
  `digest` LONGTEXT NOT NULL,
  `vector` LONGTEXT NOT NULL,
  PRIMARY KEY (`tenant_id`, `user_id`, `agent_id`, `seq`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

