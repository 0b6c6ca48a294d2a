-- meta
INSERT INTO meta (name, value) VALUES (:name, :value);
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value=excluded.value;

-- owners
INSERT INTO owners (tenant_id, user_id, agent_id, revision) VALUES (:tenant_id, :user_id, :agent_id, :revision);
INSERT INTO owners (tenant_id, user_id, agent_id, revision) VALUES (:tenant_id, :user_id, :agent_id, :revision) ON CONFLICT (tenant_id, user_id, agent_id) DO UPDATE SET revision=excluded.revision;
SELECT revision FROM owners WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY revision LIMIT :limit;
UPDATE owners SET revision=:new_revision WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM owners WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- changes
INSERT INTO changes (tenant_id, user_id, agent_id, revision, kind, seq, id, op, session_id, run_id, at) VALUES (:tenant_id, :user_id, :agent_id, :revision, :kind, :seq, :id, :op, :session_id, :run_id, :at);
INSERT INTO changes (tenant_id, user_id, agent_id, revision, kind, seq, id, op, session_id, run_id, at) VALUES (:tenant_id, :user_id, :agent_id, :revision, :kind, :seq, :id, :op, :session_id, :run_id, :at) ON CONFLICT (tenant_id, user_id, agent_id, revision) DO UPDATE SET kind=excluded.kind, seq=excluded.seq, id=excluded.id, op=excluded.op, session_id=excluded.session_id, run_id=excluded.run_id, at=excluded.at;
SELECT revision, kind FROM changes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY revision LIMIT :limit;
UPDATE changes SET revision=:new_revision WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM changes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- events
INSERT INTO events (tenant_id, user_id, agent_id, session_id, run_id, seq, event_id, kind, ts, line, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :seq, :event_id, :kind, :ts, :line, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count);
INSERT INTO events (tenant_id, user_id, agent_id, session_id, run_id, seq, event_id, kind, ts, line, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :seq, :event_id, :kind, :ts, :line, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET session_id=excluded.session_id, run_id=excluded.run_id, event_id=excluded.event_id, kind=excluded.kind, ts=excluded.ts, line=excluded.line, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, event_id FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE events SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, event_id FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE events SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR 1=1);
DELETE FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (1=1);
SELECT seq, event_id FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE events SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR 1=1);
DELETE FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (1=1);
SELECT seq, event_id FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM events WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
UPDATE events SET recalled_at=:now, recall_count=recall_count+1 WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- facts
INSERT INTO facts (tenant_id, user_id, agent_id, seq, fact_id, version, fact_key, status, valid_from, valid_to, replaces, replaced_by, past, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :seq, :fact_id, :version, :fact_key, :status, :valid_from, :valid_to, :replaces, :replaced_by, :past, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count);
INSERT INTO facts (tenant_id, user_id, agent_id, seq, fact_id, version, fact_key, status, valid_from, valid_to, replaces, replaced_by, past, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :seq, :fact_id, :version, :fact_key, :status, :valid_from, :valid_to, :replaces, :replaced_by, :past, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET fact_id=excluded.fact_id, version=excluded.version, fact_key=excluded.fact_key, status=excluded.status, valid_from=excluded.valid_from, valid_to=excluded.valid_to, replaces=excluded.replaces, replaced_by=excluded.replaced_by, past=excluded.past, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, fact_id FROM facts WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE facts SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM facts WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, fact_id FROM facts WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM facts WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
UPDATE facts SET recalled_at=:now, recall_count=recall_count+1 WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- episodes
INSERT INTO episodes (tenant_id, user_id, agent_id, seq, episode_id, starts, ends, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :seq, :episode_id, :starts, :ends, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count);
INSERT INTO episodes (tenant_id, user_id, agent_id, seq, episode_id, starts, ends, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :seq, :episode_id, :starts, :ends, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET episode_id=excluded.episode_id, starts=excluded.starts, ends=excluded.ends, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, episode_id FROM episodes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE episodes SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM episodes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, episode_id FROM episodes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM episodes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
UPDATE episodes SET recalled_at=:now, recall_count=recall_count+1 WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- procedures
INSERT INTO procedures (tenant_id, user_id, agent_id, seq, procedure_id, task_type, priority, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :seq, :procedure_id, :task_type, :priority, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count);
INSERT INTO procedures (tenant_id, user_id, agent_id, seq, procedure_id, task_type, priority, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :seq, :procedure_id, :task_type, :priority, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET procedure_id=excluded.procedure_id, task_type=excluded.task_type, priority=excluded.priority, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, procedure_id FROM procedures WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE procedures SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM procedures WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, procedure_id FROM procedures WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM procedures WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
UPDATE procedures SET recalled_at=:now, recall_count=recall_count+1 WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- insights
INSERT INTO insights (tenant_id, user_id, agent_id, session_id, run_id, seq, id, validation_state, expires, ended, digest, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :seq, :id, :validation_state, :expires, :ended, :digest, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count);
INSERT INTO insights (tenant_id, user_id, agent_id, session_id, run_id, seq, id, validation_state, expires, ended, digest, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :seq, :id, :validation_state, :expires, :ended, :digest, :body, :tokens, :pinned, :created_at, :updated_at, :recalled_at, :recall_count) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET session_id=excluded.session_id, run_id=excluded.run_id, id=excluded.id, validation_state=excluded.validation_state, expires=excluded.expires, ended=excluded.ended, digest=excluded.digest, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, id FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE insights SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, id FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE insights SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR 1=1);
DELETE FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (1=1);
SELECT seq, id FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE insights SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR 1=1);
DELETE FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (1=1);
SELECT seq, id FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM insights WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
UPDATE insights SET recalled_at=:now, recall_count=recall_count+1 WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- working_states
INSERT INTO working_states (tenant_id, user_id, agent_id, session_id, run_id, version, body, updated_at) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :version, :body, :updated_at);
INSERT INTO working_states (tenant_id, user_id, agent_id, session_id, run_id, version, body, updated_at) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :version, :body, :updated_at) ON CONFLICT (tenant_id, user_id, agent_id, session_id, run_id) DO UPDATE SET version=excluded.version, body=excluded.body, updated_at=excluded.updated_at;
SELECT version, body FROM working_states WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY version LIMIT :limit;
UPDATE working_states SET version=:new_version WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM working_states WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT version, body FROM working_states WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR b=:b) ORDER BY version LIMIT :limit;
UPDATE working_states SET version=:new_version WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR 1=1);
DELETE FROM working_states WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (1=1);
SELECT version, body FROM working_states WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR b=:b) ORDER BY version LIMIT :limit;
UPDATE working_states SET version=:new_version WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR 1=1);
DELETE FROM working_states WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (1=1);

-- short_terms
INSERT INTO short_terms (tenant_id, user_id, agent_id, session_id, body, updated_at) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :body, :updated_at);
INSERT INTO short_terms (tenant_id, user_id, agent_id, session_id, body, updated_at) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :body, :updated_at) ON CONFLICT (tenant_id, user_id, agent_id, session_id) DO UPDATE SET body=excluded.body, updated_at=excluded.updated_at;
SELECT body, updated_at FROM short_terms WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY body LIMIT :limit;
UPDATE short_terms SET body=:new_body WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM short_terms WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT body, updated_at FROM short_terms WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR b=:b) ORDER BY body LIMIT :limit;
UPDATE short_terms SET body=:new_body WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR 1=1);
DELETE FROM short_terms WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (1=1);

-- builds
INSERT INTO builds (tenant_id, user_id, agent_id, session_id, run_id, build_id, packet, explanation, at) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :build_id, :packet, :explanation, :at);
INSERT INTO builds (tenant_id, user_id, agent_id, session_id, run_id, build_id, packet, explanation, at) VALUES (:tenant_id, :user_id, :agent_id, :session_id, :run_id, :build_id, :packet, :explanation, :at) ON CONFLICT (tenant_id, user_id, agent_id, session_id, run_id, build_id) DO UPDATE SET packet=excluded.packet, explanation=excluded.explanation, at=excluded.at;
SELECT build_id, packet FROM builds WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY build_id LIMIT :limit;
UPDATE builds SET build_id=:new_build_id WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM builds WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT build_id, packet FROM builds WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR b=:b) ORDER BY build_id LIMIT :limit;
UPDATE builds SET build_id=:new_build_id WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (a=:a OR 1=1);
DELETE FROM builds WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND (1=1);
SELECT build_id, packet FROM builds WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR b=:b) ORDER BY build_id LIMIT :limit;
UPDATE builds SET build_id=:new_build_id WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (a=:a OR 1=1);
DELETE FROM builds WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND session_id=:session_id AND run_id=:run_id AND (1=1);

-- threads
INSERT INTO threads (tenant_id, user_id, agent_id, space, thread_id, ns, updated_at) VALUES (:tenant_id, :user_id, :agent_id, :space, :thread_id, :ns, :updated_at);
INSERT INTO threads (tenant_id, user_id, agent_id, space, thread_id, ns, updated_at) VALUES (:tenant_id, :user_id, :agent_id, :space, :thread_id, :ns, :updated_at) ON CONFLICT (tenant_id, user_id, agent_id, space) DO UPDATE SET thread_id=excluded.thread_id, ns=excluded.ns, updated_at=excluded.updated_at;
SELECT space, thread_id FROM threads WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY space LIMIT :limit;
UPDATE threads SET space=:new_space WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM threads WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- checkpoints
INSERT INTO checkpoints (tenant_id, user_id, agent_id, space, checkpoint_id, parent_id, run_id, channels, metadata, type, data, pieces) VALUES (:tenant_id, :user_id, :agent_id, :space, :checkpoint_id, :parent_id, :run_id, :channels, :metadata, :type, :data, :pieces);
INSERT INTO checkpoints (tenant_id, user_id, agent_id, space, checkpoint_id, parent_id, run_id, channels, metadata, type, data, pieces) VALUES (:tenant_id, :user_id, :agent_id, :space, :checkpoint_id, :parent_id, :run_id, :channels, :metadata, :type, :data, :pieces) ON CONFLICT (tenant_id, user_id, agent_id, space, checkpoint_id) DO UPDATE SET parent_id=excluded.parent_id, run_id=excluded.run_id, channels=excluded.channels, metadata=excluded.metadata, type=excluded.type, data=excluded.data, pieces=excluded.pieces;
SELECT space, checkpoint_id FROM checkpoints WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY space LIMIT :limit;
UPDATE checkpoints SET space=:new_space WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM checkpoints WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- channel_blobs
INSERT INTO channel_blobs (tenant_id, user_id, agent_id, space, blob_id, type, data, pieces) VALUES (:tenant_id, :user_id, :agent_id, :space, :blob_id, :type, :data, :pieces);
INSERT INTO channel_blobs (tenant_id, user_id, agent_id, space, blob_id, type, data, pieces) VALUES (:tenant_id, :user_id, :agent_id, :space, :blob_id, :type, :data, :pieces) ON CONFLICT (tenant_id, user_id, agent_id, space, blob_id) DO UPDATE SET type=excluded.type, data=excluded.data, pieces=excluded.pieces;
SELECT space, blob_id FROM channel_blobs WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY space LIMIT :limit;
UPDATE channel_blobs SET space=:new_space WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM channel_blobs WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- checkpoint_writes
INSERT INTO checkpoint_writes (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx, task_path, channel, type, data, pieces) VALUES (:tenant_id, :user_id, :agent_id, :space, :checkpoint_id, :task_id, :idx, :task_path, :channel, :type, :data, :pieces);
INSERT INTO checkpoint_writes (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx, task_path, channel, type, data, pieces) VALUES (:tenant_id, :user_id, :agent_id, :space, :checkpoint_id, :task_id, :idx, :task_path, :channel, :type, :data, :pieces) ON CONFLICT (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx) DO UPDATE SET task_path=excluded.task_path, channel=excluded.channel, type=excluded.type, data=excluded.data, pieces=excluded.pieces;
SELECT space, checkpoint_id FROM checkpoint_writes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY space LIMIT :limit;
UPDATE checkpoint_writes SET space=:new_space WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM checkpoint_writes WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- checkpoint_pieces
INSERT INTO checkpoint_pieces (tenant_id, user_id, agent_id, space, digest, piece, data, at) VALUES (:tenant_id, :user_id, :agent_id, :space, :digest, :piece, :data, :at);
INSERT INTO checkpoint_pieces (tenant_id, user_id, agent_id, space, digest, piece, data, at) VALUES (:tenant_id, :user_id, :agent_id, :space, :digest, :piece, :data, :at) ON CONFLICT (tenant_id, user_id, agent_id, space, digest, piece) DO UPDATE SET data=excluded.data, at=excluded.at;
SELECT space, digest FROM checkpoint_pieces WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY space LIMIT :limit;
UPDATE checkpoint_pieces SET space=:new_space WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM checkpoint_pieces WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- item_places
INSERT INTO item_places (tenant_id, user_id, agent_id, place, path) VALUES (:tenant_id, :user_id, :agent_id, :place, :path);
INSERT INTO item_places (tenant_id, user_id, agent_id, place, path) VALUES (:tenant_id, :user_id, :agent_id, :place, :path) ON CONFLICT (tenant_id, user_id, agent_id, place) DO UPDATE SET path=excluded.path;
SELECT place, path FROM item_places WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY place LIMIT :limit;
UPDATE item_places SET place=:new_place WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM item_places WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);

-- items
INSERT INTO items (tenant_id, user_id, agent_id, seq, place, item, item_key, value, words, created_at, updated_at, ttl_ms, expires_at) VALUES (:tenant_id, :user_id, :agent_id, :seq, :place, :item, :item_key, :value, :words, :created_at, :updated_at, :ttl_ms, :expires_at);
INSERT INTO items (tenant_id, user_id, agent_id, seq, place, item, item_key, value, words, created_at, updated_at, ttl_ms, expires_at) VALUES (:tenant_id, :user_id, :agent_id, :seq, :place, :item, :item_key, :value, :words, :created_at, :updated_at, :ttl_ms, :expires_at) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET place=excluded.place, item=excluded.item, item_key=excluded.item_key, value=excluded.value, words=excluded.words, created_at=excluded.created_at, updated_at=excluded.updated_at, ttl_ms=excluded.ttl_ms, expires_at=excluded.expires_at;
SELECT seq, place FROM items WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE items SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM items WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, place FROM items WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM items WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- vectors
INSERT INTO vectors (tenant_id, user_id, agent_id, seq, model, digest, vector) VALUES (:tenant_id, :user_id, :agent_id, :seq, :model, :digest, :vector);
INSERT INTO vectors (tenant_id, user_id, agent_id, seq, model, digest, vector) VALUES (:tenant_id, :user_id, :agent_id, :seq, :model, :digest, :vector) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET model=excluded.model, digest=excluded.digest, vector=excluded.vector;
SELECT seq, model FROM vectors WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR b=:b) ORDER BY seq LIMIT :limit;
UPDATE vectors SET seq=:new_seq WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (a=:a OR 1=1);
DELETE FROM vectors WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND (1=1);
SELECT seq, model FROM vectors WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);
DELETE FROM vectors WHERE tenant_id=:tenant_id AND user_id=:user_id AND agent_id=:agent_id AND seq IN (:p0, :p1);

-- all owners
SELECT tenant_id, user_id, agent_id FROM owners WHERE (tenant_id > :tenant_id) OR (tenant_id=:tenant_id AND user_id > :user_id) OR (tenant_id=:tenant_id AND user_id=:user_id AND agent_id > :agent_id) ORDER BY tenant_id, user_id, agent_id LIMIT :limit;
